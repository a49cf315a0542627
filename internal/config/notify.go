package config

import (
	"encoding/base64"
	"net/url"
	"strings"
	"unicode/utf8"

	"rollcall/internal/target"
)

// Notification says transitions to an application: by a webhook or on a channel.
type Notification struct {
	// Name matches [a-z][a-z0-9_-]{0,62}.
	Name string
	// On are types of transitions.
	On []string `yaml:"on,required" as:"appeared|confirmed|email_changed|upgraded|banned|unbanned|deleted|joined|left|role_changed" also:"events event types" doc:"transitions that are said; of users appeared, confirmed, email_changed, upgraded, banned, unbanned and deleted; of memberships joined, left and role_changed"`
	// From are the sources; none means every source.
	From []target.Origin `yaml:"from" also:"sources source" doc:"sources it follows; every source when absent"`
	// Where is nil when every transition counts.
	Where *target.Expr `yaml:"where" also:"if when" doc:"SQL condition over new and old, which have source, id and all columns that payload may name; of deleted and left only old has values"`
	// Payload are columns of the user or the membership.
	Payload []string `yaml:"payload" as:"external_id|email|email_verified|email_confirmed_at|phone|phone_verified|phone_confirmed_at|username|first_name|last_name|full_name|avatar_url|is_anonymous|is_sso_user|locked|banned|banned_until|invited_at|created_at|organization_id|user_id|role|role_name" also:"columns" doc:"columns that data has beside source and id, as they were at the transition: external_id, email, email_verified, email_confirmed_at, phone, phone_verified, phone_confirmed_at, username, first_name, last_name, full_name, avatar_url, is_anonymous, is_sso_user, locked, banned, banned_until, invited_at, created_at; of memberships organization_id, user_id, role, role_name and created_at"`
	// Webhook is nil when there is a channel.
	Webhook *Webhook `yaml:"webhook" also:"url endpoint" doc:"endpoint that gets it by POST; either this or channel"`
	// Channel is the name of a channel of PostgreSQL.
	Channel string `yaml:"channel" as:"channel" also:"notify" doc:"channel of PostgreSQL (listen) on which it is said; either this or webhook"`
	// Pos is where the name stands.
	Pos Pos
}

// Webhook is an endpoint of an application.
type Webhook struct {
	// URL is https, or http with AllowPrivate. Its path may be a key, as Inngest's is.
	URL Secret `yaml:"url,required" as:"url" doc:"where it is sent, https"`
	// Secrets sign each request, all of them.
	Secrets []Secret `yaml:"secrets,required" as:"signing" also:"secret signing_secret signing_secrets" doc:"secrets that sign it (whsec_ and 24 to 64 bytes in base64), several while one is being rotated; a value with | is several"`
	// AllowPrivate lets the address be of a private network, and the URL be http.
	AllowPrivate bool `yaml:"allow_private" doc:"true: the address may be of a private network, and the URL may be http"`
}

// notifications checks what no field shows alone.
func (d *decoder) notifications(c *Config) {
	for i := range c.Notify {
		n := &c.Notify[i]
		path := join("notify", n.Name)
		if n.Name == "retry" { // rollcall notifications retry
			d.problems.Add(d.places[path], "%s: retry is no name for a notification, but a command of rollcall notifications; take another name", path)
		}
		d.from(&target.Target{From: n.From}, c.Sources, join(path, "from"))
		switch hook, channel := d.given(join(path, "webhook")), d.given(join(path, "channel")); {
		case hook && channel:
			d.problems.Add(d.places[join(path, "channel")], "%s has a webhook and a channel; keep one, and make a second notification for the other", path)
		case !hook && !channel:
			d.problems.Add(d.place(path), "%s goes nowhere; add webhook: {url: …, secrets: […]} or channel: …", path)
		}
		d.membersOf(n, c.Sources, path)
		if n.Webhook != nil {
			d.webhook(n.Webhook, join(path, "webhook"))
		}
	}
}

// membersOf finds transitions of memberships that no source has.
func (d *decoder) membersOf(n *Notification, sources []Source, path string) {
	follows := &target.Target{From: n.From}
	for _, s := range sources {
		if follows.Follows(s.Name) && s.Has("memberships") || s.Provider == "" {
			return
		}
	}
	for i, kind := range n.On {
		if kind == "joined" || kind == "left" || kind == "role_changed" {
			d.problems.Add(d.places[item(join(path, "on"), i)], "%s.on: no source has memberships, so %s never happens; they come from a source of clerk", path, kind)
		}
	}
}

func (d *decoder) webhook(w *Webhook, path string) {
	at := join(path, "url")
	if u, err := url.Parse(w.URL.Reveal()); !w.URL.IsZero() && err == nil {
		switch {
		case u.Scheme == "http" && !w.AllowPrivate:
			d.problems.Add(d.values[at], "%s begins with http; write https, or allow_private: true for an address of your own network", at)
		case u.User != nil:
			d.problems.Add(d.values[at], "%s holds a user or a password; leave them out, because the signature is the proof", at)
		}
	}
	for i, s := range w.Secrets {
		if complaint := signingComplaint(s.Reveal()); complaint != "" {
			at := item(join(path, "secrets"), i)
			d.problems.AddAs(CodeSecret, d.places[at], "%s.secrets: %s %s", path, d.labels[at], complaint)
		}
	}
}

// signingComplaint says what is wrong with a secret of Standard Webhooks, "" if nothing.
func signingComplaint(secret string) string {
	const remedy = "; make one: echo whsec_$(openssl rand -base64 32)"
	encoded, marked := strings.CutPrefix(secret, "whsec_")
	if !marked {
		return "does not start with whsec_" + remedy
	}
	key, err := base64.StdEncoding.DecodeString(encoded)
	if err != nil || len(key) < 24 || len(key) > 64 {
		return "is not whsec_ and 24 to 64 bytes in base64" + remedy
	}
	return ""
}

// channel checks the name of a channel: PostgreSQL takes up to 63 bytes.
func channel(value string) string {
	if len(value) > 63 || !utf8.ValidString(value) || strings.ContainsAny(value, "\x00\"") {
		return "is no name of a channel; write up to 63 bytes, without quotes, exactly as listen has it"
	}
	return ""
}

// truth fills a boolean, which may come from a variable.
func (d *decoder) truth(n *node, to *bool, path string) {
	value, ok := n.text, n.kind == boolean
	if !ok {
		if !d.is(n, text, path, "true or false") {
			return
		}
		if value, ok = d.expand(n, path); !ok {
			return
		}
	}
	if *to = value == "true"; !*to && value != "false" {
		d.problems.Add(n.pos, "%s: %s is neither true nor false; write one of them", path, label(n, false))
	}
}
