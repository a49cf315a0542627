package app

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"slices"
	"strings"

	"rollcall/internal/clerk"
	"rollcall/internal/config"
	"rollcall/internal/doctor"
	"rollcall/internal/event"
	"rollcall/internal/postgres"
	"rollcall/internal/postgres/catalog"
	"rollcall/internal/postgres/connection"
	"rollcall/internal/postgres/directory"
	"rollcall/internal/postgres/outbox"
	"rollcall/internal/reconcile"
	"rollcall/internal/session"
	"rollcall/internal/source"
	"rollcall/internal/target"
	"rollcall/internal/terminal"
)

// Setup is a configuration and what it describes.
type Setup struct {
	Config  *config.Config
	Sources []*source.Source
	Targets []target.Target
	// Sessions are those of the sources that have one.
	Sessions []session.Config

	level slog.LevelVar // of Logger
}

// Read understands the text of a configuration; file is the name that errors carry. The error lists
// everything that is wrong.
func Read(file string, data []byte, getenv func(string) string) (*Setup, error) {
	s, problems := read(file, data, config.Env{Getenv: getenv, ReadFile: os.ReadFile})
	if len(problems) > 0 {
		return nil, Unusable(problems)
	}
	return s, nil
}

// Unusable is the error of a configuration with problems.
func Unusable(problems config.Problems) error {
	return fmt.Errorf("the configuration can't be used:\n%w", problems)
}

// Validate finds all that is wrong with the text of a configuration, as Read does, and with its connection string,
// which Read leaves to Open. The Setup is nil where the text is no YAML.
func Validate(file string, data []byte, env config.Env) (*Setup, config.Problems) {
	s, problems := read(file, data, env)
	if s != nil && s.Config.Database != "" {
		if err := connection.Validate(s.Config.Database); err != nil {
			problems.Add(s.Config.At("database"), "%v", err)
			problems.Sort()
		}
	}
	return s, problems
}

func read(file string, data []byte, env config.Env) (*Setup, config.Problems) {
	cfg, problems := config.Load(file, data, env)
	if cfg == nil {
		return nil, problems
	}
	s, more := Assemble(cfg)
	problems = append(problems, more...)
	problems.Sort()
	return s, problems
}

// Logger writes the log as the configuration wants it; if it says nothing of the format, in text on a terminal.
func (s *Setup) Logger(to io.Writer) *slog.Logger {
	s.level.Set(s.logLevel())
	format := s.Config.Log.Format
	if format == "" && terminal.Is(to) {
		format = "text"
	}
	to = event.PrintableTo(to)
	options := &slog.HandlerOptions{Level: &s.level}
	if format == "text" {
		return slog.New(slog.NewTextHandler(to, options))
	}
	return slog.New(slog.NewJSONHandler(to, options))
}

// logLevel is the lowest level that is logged.
func (s *Setup) logLevel() slog.Level {
	var level slog.Level
	if err := level.UnmarshalText([]byte(s.Config.Log.Level)); err != nil {
		return slog.LevelInfo // the configuration's own check knows the four names
	}
	return level
}

// database is how the database of a configuration is opened.
func (s *Setup) database(log *slog.Logger) postgres.Config {
	limits := s.Config.Limits
	return postgres.Config{
		URL: s.Config.Database, Targets: s.Targets,
		LockTimeout: limits.LockTimeout,
		// A second, shorter try must fit into the time that the sender waits, too.
		StatementTimeout: min(limits.StatementTimeout, limits.Wait/2),
		Attempts:         s.Config.Retry.Attempts,
		Metadata:         limits.Metadata,
		Log:              log,
	}
}

// Open prepares the database of a configuration.
func (s *Setup) Open(log *slog.Logger) (*postgres.DB, error) {
	db, err := postgres.Open(s.database(log))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", s.Config.At("database"), err)
	}
	return db, nil
}

// UnknownSourceError says that a configuration has no source of this name.
type UnknownSourceError struct {
	Name string
	Has  []string // the names of those that there are
}

func (e *UnknownSourceError) Error() string {
	if len(e.Has) == 0 {
		return fmt.Sprintf("there is no source %q; the configuration has none at all", e.Name)
	}
	hint := ""
	if meant := target.Nearest(e.Name, e.Has); meant != "" {
		hint = "; did you mean " + meant + "?"
	}
	return fmt.Sprintf("there is no source %q in the configuration; it has %s%s", e.Name, strings.Join(e.Has, ", "), hint)
}

// Source finds a source by its name, else returns an UnknownSourceError.
func (s *Setup) Source(name string) (*source.Source, error) {
	unknown := &UnknownSourceError{Name: name}
	for _, src := range s.Sources {
		if src.Name() == name {
			return src, nil
		}
		unknown.Has = append(unknown.Has, src.Name())
	}
	return nil, unknown
}

// APIs makes the clients of the providers' APIs, by source. Everything that a process asks goes through the
// one of its source: what the provider asks for counts for all.
func (s *Setup) APIs(log *slog.Logger) map[string]*clerk.API {
	apis := map[string]*clerk.API{}
	for _, c := range s.Config.Sources {
		if c.API != nil {
			apis[c.Name] = clerk.New(clerk.Config{Key: c.API.Key.Reveal(), URL: c.API.URL, Log: log.With("source", c.Name)})
		}
	}
	return apis
}

// Reconciliation is how a source is reconciled, but for the database and the log.
func (s *Setup) Reconciliation(name string, apis map[string]*clerk.API) (reconcile.Config, error) {
	src, err := s.Source(name)
	if err != nil {
		return reconcile.Config{}, err
	}
	cfg := reconcile.Config{Source: src, MaxDelete: config.DefaultMaxDelete}
	c := s.configured(name)
	if c.Reconcile != nil {
		cfg.MaxDelete = c.Reconcile.MaxDelete
	}
	switch {
	case c.UsersTable == config.NoTable:
		return cfg, fmt.Errorf("%s: %w: users_table of source %s is none; name a table to compare with", c.Pos, directory.ErrUnseen, name)
	case c.Provider == config.Supabase:
		cfg.Table = usersTable(c)
	case c.API == nil:
		return cfg, fmt.Errorf("%s: source %s has no API to list its users; add api: {key: \"${CLERK_SECRET_KEY}\"} to it", c.Pos, name)
	default:
		cfg.API, cfg.URL = apis[name], c.API.URL
	}
	return cfg, nil
}

// Doctor is what doctor examines of the setup, beside a database.
func (s *Setup) Doctor(db *postgres.DB, apis map[string]*clerk.API) doctor.Config {
	return doctor.Config{
		File: s.Config, DB: db, Sources: s.Sources, Captures: s.Captures(), Claims: s.Claims(), APIs: apis, Conditions: s.Conditions(db),
	}
}

// configured is what the file says of one of its sources.
func (s *Setup) configured(name string) config.Source {
	i := slices.IndexFunc(s.Config.Sources, func(src config.Source) bool { return src.Name == name })
	return s.Config.Sources[i]
}

// Captures are those that the configuration's sources may have.
func (s *Setup) Captures() []outbox.Capture {
	var all []outbox.Capture
	for _, src := range s.Config.Sources {
		if src.Provider == config.Supabase && src.UsersTable != config.NoTable {
			all = append(all, outbox.Capture{Source: src.Name, Table: usersTable(src)})
		}
	}
	return all
}

// Claims are those of the configuration's sources that have some.
func (s *Setup) Claims() []target.Claims {
	var all []target.Claims
	for _, src := range s.Config.Sources {
		if len(src.Claims) > 0 {
			all = append(all, claimsOf(src))
		}
	}
	return all
}

func claimsOf(src config.Source) target.Claims {
	return target.Claims{Source: src.Name, Set: src.Claims, Role: target.AuthServer}
}

// usersTable is where a Supabase source's users are.
func usersTable(src config.Source) string {
	if src.UsersTable != "" && src.UsersTable != config.NoTable {
		return src.UsersTable
	}
	return "auth.users"
}

// Faults checks the targets of a database whose schema is there, and returns what keeps them out of
// service.
func Faults(ctx context.Context, db *postgres.DB) ([]target.Finding, error) {
	if err := db.Migrated(ctx); err != nil {
		return nil, err
	}
	found, err := db.Targets().Check(ctx)
	return target.Faults(found), err
}

// Assemble builds what a configuration describes. The problems are those the file itself
// shows, all at once; with any, the rest is not for use.
func Assemble(cfg *config.Config) (*Setup, config.Problems) {
	var problems config.Problems
	s := &Setup{Config: cfg, Targets: make([]target.Target, len(cfg.Targets))}
	for _, c := range cfg.Sources {
		if c.Provider == "" {
			continue // the file's problems say so
		}
		c = withoutBad(cfg, c, &problems)
		src, err := source.New(sourceConfig(c))
		if err != nil {
			problems.Add(c.Pos, "%v", err)
			continue
		}
		s.Sources = append(s.Sources, src)
		claims := claimsOf(c)
		for _, f := range claims.Lint(catalog.RollOf(&target.Target{})) {
			problems = append(problems, config.Problem{Code: string(f.Code), Pos: config.ParsePos(f.At), What: fmt.Sprintf("source %s: %s", c.Name, f.What)})
		}
		if c.Session != nil {
			at := cfg.At(config.Path("sources", c.Name, "session"))
			if c.Provider == config.Clerk && c.API == nil {
				problems.Add(at, "source %s: session: just-in-time sync asks Clerk's API for the user; add api: {key: \"${CLERK_SECRET_KEY}\"} to the source", c.Name)
			}
			if c.Session.Issuer == "" {
				continue // the file's problems say so
			}
			s.Sessions = append(s.Sessions, sessionConfig(c))
			if _, err := session.New(s.Sessions...); err != nil {
				problems.Add(at, "%v", err)
				s.Sessions = s.Sessions[:len(s.Sessions)-1]
			}
		}
	}
	lintConditions(cfg, &problems)
	for i, t := range cfg.Targets {
		s.Targets[i] = ofSources(t, cfg.Sources)
		for _, f := range s.Targets[i].Lint(catalog.RollOf(&s.Targets[i])) {
			problems = append(problems, config.Problem{
				Code: string(f.Code), Pos: config.ParsePos(f.At), What: fmt.Sprintf("target %s: %s", f.Target, f.What), Remedy: config.RemedyOf(&s.Targets[i], f),
			})
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
				problems.AddAs(config.CodeSecret, at, "%s: %s %s", path, name, complaint)
				continue
			}
			rest = append(rest, s)
		}
		return rest
	}
	c.SigningSecrets = good(config.Path("sources", c.Name, "signing_secrets"), c.SigningSecrets, func(s string) string {
		return source.SecretComplaint(c.Provider, s)
	})
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
		if t.Follows(s.Name) && s.Has(t.Roll) {
			from = append(from, target.Origin{Source: s.Name, SampleID: source.SampleID(s.Provider)})
		}
	}
	t.From = from
	return t
}
