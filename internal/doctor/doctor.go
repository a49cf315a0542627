// Package doctor holds a configuration against the rules that its own room can't know:
// those of the providers and of SQL.
package doctor

import (
	"slices"

	"rollcall/internal/config"
	"rollcall/internal/postgres"
	"rollcall/internal/source"
)

// Assemble builds what a configuration describes. The problems are those the file itself
// shows, all at once; with any, the rest is not for use.
func Assemble(cfg *config.Config) ([]*source.Source, []postgres.Target, config.Problems) {
	var problems config.Problems
	var sources []*source.Source
	for _, c := range cfg.Sources {
		src, err := source.New(sourceConfig(c))
		if err != nil {
			problems.Add(c.Pos, "%v", err)
			continue
		}
		sources = append(sources, src)
	}
	targets := make([]postgres.Target, len(cfg.Targets))
	places := map[string]config.Pos{}
	for i, c := range cfg.Targets {
		targets[i] = target(c, cfg.Sources, places)
		for _, f := range targets[i].Lint() {
			problems.Add(places[f.At], "target %s: %s", f.Target, f.What)
		}
	}
	return sources, targets, problems
}

func sourceConfig(c config.Source) source.Config {
	s := source.Config{Name: c.Name, Provider: c.Provider, SigningSecrets: reveal(c.SigningSecrets), InstanceID: c.InstanceID}
	if c.DatabaseWebhook != nil {
		s.WebhookHeader, s.WebhookSecrets = c.DatabaseWebhook.Header, reveal(c.DatabaseWebhook.Secrets)
	}
	return s
}

func reveal(secrets []config.Secret) []string {
	var values []string
	for _, s := range secrets {
		values = append(values, s.Reveal())
	}
	return values
}

// target carries a target over, and notes in places where its parts stand.
func target(c config.Target, sources []config.Source, places map[string]config.Pos) postgres.Target {
	at := func(p config.Pos) string {
		places[p.String()] = p
		return p.String()
	}
	assignments := func(columns []config.Column) []postgres.Assignment {
		var list []postgres.Assignment
		for _, col := range columns {
			list = append(list, postgres.Assignment{Column: col.Name, Expr: expr(col.Expr, at)})
		}
		return list
	}
	t := postgres.Target{
		Name: c.Name, At: at(c.Pos), Table: c.Table, Key: slices.Clone(c.Key),
		Set: assignments(c.Set), OnInsert: assignments(c.OnInsert),
		OnDelete: postgres.OnDelete(c.OnDelete.Action), Gone: assignments(c.OnDelete.Set),
	}
	if c.Where != nil {
		where := expr(*c.Where, at)
		t.Where = &where
	}
	for _, s := range sources {
		if c.Follows(s.Name) {
			t.From = append(t.From, postgres.Origin{Source: s.Name, SampleID: source.SampleID(s.Provider)})
		}
	}
	return t
}

func expr(e config.Expr, at func(config.Pos) string) postgres.Expr {
	return postgres.Expr{SQL: e.SQL, Written: e.Written, At: at(e.Pos)}
}
