package app

import (
	"rollcall/internal/config"
	"rollcall/internal/postgres/catalog"
	"rollcall/internal/session"
	"rollcall/internal/source"
	"rollcall/internal/target"
)

// Assemble builds what a configuration describes. The problems are those the file itself
// shows, all at once; with any, the rest is not for use.
func Assemble(cfg *config.Config) (*Setup, config.Problems) {
	var problems config.Problems
	s := &Setup{Config: cfg, Targets: make([]target.Target, len(cfg.Targets))}
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
	for i, t := range cfg.Targets {
		s.Targets[i] = ofSources(t, cfg.Sources)
		for _, f := range s.Targets[i].Lint(catalog.RollOfUsers) {
			problems.Add(config.ParsePos(f.At), "target %s: %s", f.Target, f.What)
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

// ofSources adds to a target what the sources say.
func ofSources(t target.Target, sources []config.Source) target.Target {
	var from []target.Origin
	for _, s := range sources {
		if s.UsersTable != "" {
			t.UsersTables = append(t.UsersTables, s.UsersTable)
		}
		if t.Follows(s.Name) {
			from = append(from, target.Origin{Source: s.Name, SampleID: source.SampleID(s.Provider)})
		}
	}
	t.From = from
	return t
}
