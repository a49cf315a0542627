package main

import (
	"log/slog"

	"rollcall/api"
	"rollcall/internal/config"
	"rollcall/internal/reconcile"
	"rollcall/internal/session"
	"rollcall/internal/source"
)

// openAPIs makes the clients of the providers' APIs, by source. Everything that a process asks
// goes through the one of its source: what the provider asks for counts for all.
func (s *setup) openAPIs(log *slog.Logger) map[string]*source.API {
	apis := map[string]*source.API{}
	for _, c := range s.config.Sources {
		if c.API != nil {
			apis[c.Name] = source.NewAPI(source.APIConfig{Key: c.API.Key.Reveal(), URL: c.API.URL, Log: log.With("source", c.Name)})
		}
	}
	return apis
}

// justInTime is how a front end has its own user brought into step: of every source with a
// session.
func (sv *service) justInTime() (api.Sync, error) {
	sessions := make([]session.Config, len(sv.setup.Sessions))
	providers := map[string]reconcile.Provider{}
	var names []string
	for i, s := range sv.setup.Sessions {
		s.Log = sv.log
		sessions[i] = s
		names = append(names, s.Source)
		providers[s.Source] = sv.provider(s.Source)
	}
	verifier, err := session.New(sessions...)
	if err != nil {
		return api.Sync{}, err
	}
	syncer := reconcile.NewSyncer(reconcile.SyncConfig{
		Providers: providers, DB: sv.db, Submit: sv.pipeline.Submit, MaxAge: sv.setup.config.Sync.MaxAge,
		Observe: func(source, result string) { sv.server.ObserveLook(source, result) },
	})
	return api.Sync{Sources: names, Verify: verifier.Verify, User: syncer.Sync, Origins: sv.setup.config.Sync.Origins}, nil
}

// provider is where single users of a source are looked up.
func (sv *service) provider(name string) reconcile.Provider {
	src, _ := sv.setup.source(name) // it is one of the configuration's
	for _, c := range sv.setup.config.Sources {
		if c.Name == name && c.Provider == config.Supabase {
			return reconcile.TableProvider(sv.db, src, usersTable(c))
		}
	}
	return reconcile.APIProvider(sv.apis[name], src)
}
