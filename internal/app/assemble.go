package app

import (
	"slices"

	"rollcall/internal/config"
	"rollcall/internal/postgres"
	"rollcall/internal/session"
	"rollcall/internal/source"
)

// Assemble builds what a configuration describes. The problems are those the file itself
// shows, all at once; with any, the rest is not for use.
func Assemble(cfg *config.Config) (*Setup, config.Problems) {
	var problems config.Problems
	s := &Setup{Config: cfg, Targets: make([]postgres.Target, len(cfg.Targets))}
	for _, c := range cfg.Sources {
		c = withoutBad(cfg, c, &problems)
		src, err := source.New(sourceConfig(c))
		if err != nil {
			problems.Add(c.Pos, "%v", err)
			continue
		}
		s.Sources = append(s.Sources, src)
		if c.Session != nil {
			at := cfg.At(config.Path("sources", c.Name, "session"))
			s.Sessions = append(s.Sessions, sessionConfig(c))
			if c.Provider == config.Clerk && c.API == nil {
				problems.Add(at, "source %s: session: just-in-time sync asks Clerk's API for the user; add api: {key: \"${CLERK_SECRET_KEY}\"} to the source", c.Name)
			}
			if _, err := session.New(s.Sessions...); err != nil {
				problems.Add(at, "%v", err)
				s.Sessions = s.Sessions[:len(s.Sessions)-1]
			}
		}
	}
	places := map[string]config.Pos{}
	for i, c := range cfg.Targets {
		s.Targets[i] = target(c, cfg.Sources, places)
		for _, f := range s.Targets[i].Lint() {
			problems.Add(places[f.At], "target %s: %s", f.Target, f.What)
		}
	}
	return s, problems
}

// withoutBad leaves the secrets of a source out that can't be its provider's, and says what is
// wrong with each at its place.
func withoutBad(cfg *config.Config, c config.Source, problems *config.Problems) config.Source {
	good := func(path string, secrets []config.Secret, complain func(secret string) string) (rest []config.Secret) {
		for i, s := range secrets {
			if complaint := complain(s.Reveal()); complaint != "" {
				at, name := cfg.Item(path, i)
				problems.Add(at, "%s: %s %s", path, name, complaint)
				continue
			}
			rest = append(rest, s)
		}
		return rest
	}
	if c.Provider != "" { // otherwise the file has said so
		c.SigningSecrets = good(config.Path("sources", c.Name, "signing_secrets"), c.SigningSecrets, func(s string) string {
			return source.SecretComplaint(c.Provider, s)
		})
	}
	if c.DatabaseWebhook != nil {
		webhook := *c.DatabaseWebhook
		path := config.Path("sources", c.Name, "database_webhook", "secrets")
		webhook.Secrets = good(path, webhook.Secrets, source.HeaderComplaint)
		c.DatabaseWebhook = &webhook
	}
	return c
}

func sessionConfig(c config.Source) session.Config {
	s := c.Session
	return session.Config{
		Source: c.Name, Provider: c.Provider, Issuer: s.Issuer, JWKSURL: s.JWKSURL,
		AuthorizedParties: s.AuthorizedParties, Audience: s.Audience, HS256Secret: s.HS256Secret.Reveal(),
	}
}

func sourceConfig(c config.Source) source.Config {
	s := source.Config{
		Name: c.Name, Provider: c.Provider, SigningSecrets: reveal(c.SigningSecrets), InstanceID: c.InstanceID,
	}
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
		if s.UsersTable != "" {
			t.UsersTables = append(t.UsersTables, s.UsersTable)
		}
		if c.Follows(s.Name) {
			t.From = append(t.From, postgres.Origin{Source: s.Name, SampleID: source.SampleID(s.Provider)})
		}
	}
	return t
}

func expr(e config.Expr, at func(config.Pos) string) postgres.Expr {
	return postgres.Expr{SQL: e.SQL, Written: e.Written, At: at(e.Pos)}
}
