// Package config turns a file and an environment into a Config. It hides YAML, variables and defaults, and
// collects all mistakes of the file, each as "file:line:column: what, and what to do":
//
//	cfg, problems := config.Load("rollcall.yaml", data, config.Env{Getenv: os.Getenv, ReadFile: os.ReadFile})
//
// It knows no database, and of SQL only what package target says about brackets and quotes.
package config

import (
	"encoding/json"
	"fmt"
	"time"

	"rollcall/internal/target"
)

// DefaultMaxDelete is the share of a source's users that one reconciliation may
// delete where the source doesn't say, as a fraction.
const DefaultMaxDelete = 0.05

// Config is rollcall.yaml after defaults and variables. The tags are the language:
// the decoder, the checks and Reference all read them.
type Config struct {
	// Database is a connection string, as a URL or in key=value form. It holds a
	// password: never print it.
	Database string `yaml:"database,required" as:"postgres" also:"database_url url dsn db postgres postgresql connection" doc:"connection string of the PostgreSQL database that holds the roll and the targets; pool_max_conns in it raises the 6 connections"`
	// Listen is host:port, default ":8080".
	Listen string `yaml:"listen" as:"address" default:":8080" also:"server port address addr bind host http" doc:"address of the public listener: webhooks and /v1"`
	// AdminListen is host:port, default "127.0.0.1:8081".
	AdminListen string `yaml:"admin_listen" as:"address" default:"127.0.0.1:8081" also:"admin metrics" doc:"address of the admin listener: metrics, health, /admin/v1/status"`
	// AdminToken is empty when the file gives none.
	AdminToken Secret `yaml:"admin_token" as:"bearer" doc:"bearer token of /admin/v1, at least 16 characters; the audit log calls its holder admin; without a token /admin/v1 is closed"`
	// AdminTokens stand in the order of the file; their names and their texts are unique.
	AdminTokens []AdminToken `yaml:"admin_tokens" as:"bearer" doc:"further tokens, each with the name of its holder, which the audit log keeps"`
	// AdminHosts are names without a port, in lower case.
	AdminHosts []string `yaml:"admin_hosts" as:"host" doc:"names by which the console is reached, beside localhost and addresses; requests to other names are refused, against DNS rebinding"`
	// Sources stand in the order of the file; their names are unique.
	Sources []Source `yaml:"sources" also:"source providers provider" doc:"the spaces of user ids; the name is the one in POST /webhooks/{source}"`
	// Targets stand in the order of the file; their names are unique.
	Targets []target.Target `yaml:"targets" also:"target tables table" doc:"the tables kept in step with the roll"`
	// Notify stand in the order of the file; their names are unique.
	Notify    []Notification `yaml:"notify" also:"notifications hooks" doc:"notifications of users and memberships, by name"`
	Limits    Limits         `yaml:"limits" doc:"what one request may take"`
	Retry     Retry          `yaml:"retry" doc:"how users that a target refused are tried again"`
	Retention Retention      `yaml:"retention" doc:"how long events are kept"`
	Sync      Sync           `yaml:"sync" doc:"just-in-time sync, POST /v1/sync"`
	Log       Log            `yaml:"log" also:"logging log_level" doc:"the log on standard error"`

	places map[string]Pos
	labels map[string]string
}

// AdminToken is a bearer token of the admin API.
type AdminToken struct {
	// Name is the holder's, as the audit log has it.
	Name  string
	Token Secret
}

// soleAdmin is the name of the holder of admin_token.
const soleAdmin = "admin"

// Admins are all tokens of the admin API; none closes it.
func (c *Config) Admins() []AdminToken {
	if c.AdminToken.IsZero() {
		return c.AdminTokens
	}
	return append([]AdminToken{{soleAdmin, c.AdminToken}}, c.AdminTokens...)
}

// Limits bounds one request.
type Limits struct {
	// Body is in bytes, default 1 MiB.
	Body int64 `yaml:"body" as:"size" default:"1MiB" doc:"largest body of a request; above it the answer is 413"`
	// Metadata is in bytes, default 1 MiB.
	Metadata int64 `yaml:"metadata" as:"size" default:"1MiB" doc:"largest user or app metadata that is read from a provider's table; beyond it the user's last known value stays, and all else is followed"`
	// Queue counts events, default 8192.
	Queue int `yaml:"queue" default:"8192" doc:"events that may wait for the database; above it the answer is 503"`
	// Wait is default 4 s.
	Wait time.Duration `yaml:"wait" default:"4s" doc:"longest wait of a request for its commit; above it the answer is 503"`
	// LockTimeout is default 800 ms.
	LockTimeout time.Duration `yaml:"lock_timeout" default:"800ms" doc:"longest wait of a statement for a lock"`
	// StatementTimeout is default 4 s.
	StatementTimeout time.Duration `yaml:"statement_timeout" default:"4s" doc:"longest run of a statement; never more than half of wait, for a target that runs into it is tried once more by itself"`
}

// Retry says how often a parked user is tried again.
type Retry struct {
	// Attempts is default 20.
	Attempts int `yaml:"attempts" default:"20" doc:"tries before a parked user is given up"`
}

// Retention says how long rows of rollcall.events are kept.
type Retention struct {
	// Bodies is default 7 days.
	Bodies time.Duration `yaml:"bodies" default:"7d" doc:"how long the body of an event is kept for replay"`
	// Undecodable is default 30 days.
	Undecodable time.Duration `yaml:"undecodable" default:"30d" doc:"how long the body of an event that couldn't be read is kept"`
	// Events is default 90 days.
	Events time.Duration `yaml:"events" default:"90d" doc:"how long an event is kept, and so recognised as a duplicate"`
}

// Sync is the just-in-time endpoint.
type Sync struct {
	// Origins are scheme://host[:port]; empty means no browser may call.
	Origins []string `yaml:"origins" as:"origin" doc:"origins whose pages may call /v1/sync (CORS)"`
	// MaxAge is default 60 s.
	MaxAge time.Duration `yaml:"max_age" default:"60s" doc:"age up to which the roll's row is taken without asking the provider"`
}

// Log is the log on standard error.
type Log struct {
	// Level is debug, info, warn or error; default info.
	Level string `yaml:"level" as:"debug|info|warn|error" default:"info" doc:"lowest level that is written"`
	// Format is json or text; empty when the file gives none.
	Format string `yaml:"format" as:"json|text" doc:"form of a line; when absent, text on a terminal, else json"`
}

// The providers a source can have.
const (
	Clerk    = "clerk"
	Supabase = "supabase"
)

// NoTable in users_table says that no table decides about the users of a source.
const NoTable = "none"

// Source is one space of user ids, fed through one or more endpoints.
type Source struct {
	// Name matches [a-z][a-z0-9_-]{0,62}.
	Name string
	// Provider is Clerk or Supabase.
	Provider string `yaml:"provider,required" as:"clerk|supabase" doc:"sender of the events, clerk or supabase"`
	// SigningSecrets are whole, with their prefix (whsec_…, v1,whsec_…); all are tried.
	// Empty closes the endpoint of the webhooks.
	SigningSecrets []Secret `yaml:"signing_secrets" as:"signing" also:"signing_secret secret secrets webhook_secret webhook_secrets" doc:"secrets of the webhooks (whsec_…) or auth hooks (v1,whsec_…), several while one is being rotated; a value with | is several; without them the endpoint is closed"`
	// InstanceID is ins_…; empty means that events of every instance are taken.
	InstanceID string `yaml:"instance_id" only:"clerk" doc:"events of another instance are ignored and counted as such"`
	// API is nil when the file gives none.
	API *API `yaml:"api" only:"clerk" also:"secret_key" doc:"the provider's API, for reconcile and just-in-time"`
	// Session is nil when the file gives none.
	Session *Session `yaml:"session" doc:"how session tokens are verified, for just-in-time"`
	// Reconcile is nil when the file gives none.
	Reconcile *Reconcile `yaml:"reconcile" doc:"comparison of the roll with all users of the provider"`
	// WhenUnavailable is admit or refuse, default admit; only Supabase asks.
	WhenUnavailable string `yaml:"when_unavailable" as:"admit|refuse" default:"admit" only:"supabase" doc:"what before-user-created gets while the database is away, and while admission.require can't be asked"`
	// Admission is nil when the file gives none: who signs up is only recorded.
	Admission *Admission `yaml:"admission" only:"supabase" doc:"who may sign up, by the hook before-user-created; auth servers before v2.187 ignore a refusal"`
	// UsersTable is schema.table; empty means auth.users where the database has it. NoTable: the
	// events say what is so.
	UsersTable string `yaml:"users_table" as:"table" only:"supabase" also:"table" doc:"table of the provider's users in this database, which decides what is so; auth.users when this database has it; none: the events decide, by their version"`
	// Claims are empty when the file gives none; in the order of their names, since that of the file means nothing.
	Claims []target.Assignment `yaml:"claims" only:"supabase" doc:"map of claim to SQL expression over new, which rollcall claims install adds to access tokens; tables and functions with their schema; new is null for a user that the roll does not have"`
	// DatabaseWebhook is nil when the file gives none: that endpoint is closed.
	DatabaseWebhook *DatabaseWebhook `yaml:"database_webhook" only:"supabase" doc:"the endpoint POST /webhooks/{source}/database"`
	// Pos is where the name stands.
	Pos Pos
}

// Has reports whether the source fills a roll, by the name that a target has for it: Supabase has users only.
func (s *Source) Has(roll string) bool {
	return roll == "" || roll == "users" || s.Provider != Supabase
}

// Admission is the rules about who may sign up. It has one at least.
type Admission struct {
	// AllowDomains and DenyDomains are domains, *.domain or .domain.
	AllowDomains []string `yaml:"allow_domains" as:"domain" doc:"domains of the e-mail addresses that may sign up; *.example.com is all below example.com; users without an address may not"`
	DenyDomains  []string `yaml:"deny_domains" as:"domain" doc:"domains of the e-mail addresses that may not sign up, with all below them; asked before allow_domains"`
	// DenyDomainsFile is a path; DeniedByFile is what the file has.
	DenyDomainsFile string `yaml:"deny_domains_file" doc:"file of further such domains, one a line, with # before comments; a path beside the configuration, or an absolute one; read again at a reload"`
	DeniedByFile    []string
	// Require is nil when the file gives none.
	Require *target.Expr `yaml:"require" doc:"SQL condition over new, for users that the lists admit; it may read tables, and takes 400 ms at most; null refuses"`
	// Message is for who signs up.
	Message string `yaml:"message" default:"You can't sign up here." doc:"what a refused user is told"`
}

// API is the provider's own HTTP API.
type API struct {
	Key Secret `yaml:"key,required" doc:"secret key of the API"`
	// URL is an http or https URL, default https://api.clerk.com/v1.
	URL string `yaml:"url" as:"url" default:"https://api.clerk.com/v1" doc:"base URL of the API"`
}

// Session says which session tokens are believed.
type Session struct {
	// Issuer is an http or https URL.
	Issuer string `yaml:"issuer,required" as:"url" doc:"issuer of the tokens, iss, exactly"`
	// JWKSURL is "" when the file gives none.
	JWKSURL string `yaml:"jwks_url" as:"url" doc:"where the keys are; the issuer's /.well-known/jwks.json when absent"`
	// AuthorizedParties are origins; empty means that azp isn't looked at.
	AuthorizedParties []string `yaml:"authorized_parties" as:"origin" doc:"values of azp that are believed"`
	// Audience is empty when the file gives none: aud isn't looked at.
	Audience string `yaml:"audience" doc:"value that aud must hold"`
	// HS256Secret is empty when the file gives none: only keys of the JWKS count.
	HS256Secret Secret `yaml:"hs256_secret" doc:"JWT secret of a project that signs with HS256"`
}

// Reconcile is the comparison with all users of the provider.
type Reconcile struct {
	// Schedule is a cron expression of five fields, UTC; empty means by hand only.
	Schedule string `yaml:"schedule" as:"cron" doc:"when it runs, a cron expression of five fields in UTC; by hand only when absent"`
	// MaxDelete is a fraction between 0 and 1, default 0.05.
	MaxDelete float64 `yaml:"max_delete" as:"percent" default:"5%" doc:"share of each roll that one run may delete; above it the run deletes none of it"`
}

// DatabaseWebhook is the endpoint of Supabase Database Webhooks, which carry no
// signature: a static header is all their proof.
type DatabaseWebhook struct {
	// Header is the name of an HTTP header, default X-Webhook-Secret.
	Header string `yaml:"header" as:"header" default:"X-Webhook-Secret" doc:"header that carries the secret; its value is compared whole, for Authorization a leading \"Bearer \" is optional"`
	// Secrets have at least 16 characters each; one matching is enough.
	Secrets []Secret `yaml:"secrets,required" as:"password" doc:"values of the header that are let in, at least 16 characters"`
}

// At says where the field of a path such as "sources.clerk.session" stands, for
// checks that only others can make. The zero Pos means that the file doesn't give it.
func (c *Config) At(path string) Pos { return c.places[path] }

// Item says where an item of a list stands, and how a message may call it: never by a secret.
func (c *Config) Item(path string, i int) (Pos, string) {
	at := item(path, i)
	return c.places[at], c.labels[at]
}

// plain is Config without its methods, so that printing it can't recurse.
type plain Config

func (c Config) redacted() plain {
	if c.Database != "" {
		c.Database = redacted
	}
	c.places, c.labels = nil, nil
	return plain(c)
}

// Format prints the configuration without the database's password, for every verb.
func (c Config) Format(f fmt.State, verb rune) {
	_, _ = fmt.Fprintf(f, fmt.FormatString(f, verb), c.redacted())
}

// MarshalJSON writes the configuration without any secret.
func (c Config) MarshalJSON() ([]byte, error) { return json.Marshal(c.redacted()) }
