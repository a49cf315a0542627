package app

import (
	"rollcall/api"
	"rollcall/internal/config"
	"rollcall/internal/reconcile"
	"rollcall/internal/session"
)

// justInTime brings the user of a session up to date, for the front end that asks: of every source with a session.
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
		Providers: providers, DB: sv.db, Submit: sv.pipeline.Submit, MaxAge: sv.setup.Config.Sync.MaxAge,
		Observe: func(source, result string) { sv.server.ObserveLook(source, result) },
	})
	return api.Sync{Sources: names, Verify: verifier.Verify, User: syncer.Sync, Origins: sv.setup.Config.Sync.Origins}, nil
}

// provider is where single users of a source are looked up.
func (sv *service) provider(name string) reconcile.Provider {
	src, _ := sv.setup.Source(name) // it is one of the configuration's
	if c := sv.setup.configured(name); c.Provider == config.Supabase {
		return reconcile.TableProvider(sv.db, src, usersTable(c))
	}
	return reconcile.APIProvider(sv.apis[name], src)
}
