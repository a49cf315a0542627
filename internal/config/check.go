package config

import (
	"reflect"
	"strings"
)

// check finds the mistakes that no field shows alone.
func (d *decoder) check(c *Config) {
	if c.Listen == c.AdminListen && !strings.HasSuffix(c.Listen, ":0") {
		d.problems.Add(d.place("admin_listen"), "admin_listen is the address of listen too; give it its own, such as 127.0.0.1:8081")
	}
	if d.given("targets") && !d.given("sources") {
		d.problems.Add(d.place("targets"), "targets have no sources to follow; add sources")
	}
	for i := range c.Sources {
		d.source(&c.Sources[i])
	}
	for i := range c.Targets {
		d.target(&c.Targets[i], c.Sources)
	}
	d.sharing(c)
}

// source checks one source and completes it.
func (d *decoder) source(s *Source) {
	path := join("sources", s.Name)
	d.foreign(s, path)
	if s.API != nil && strings.HasPrefix(s.API.Key.Reveal(), "pk_") {
		at := join(join(path, "api"), "key")
		d.problems.Add(d.values[at], "%s: the value is Clerk's publishable key, which opens nothing; copy the secret key, which starts with sk_", at)
	}
	if s.Provider == Clerk && !d.given(join(path, "api")) && s.Reconcile != nil && s.Reconcile.Schedule != "" {
		at := join(join(path, "reconcile"), "schedule")
		d.problems.Add(d.place(at), "%s wants the API, which lists the users; add api: {key: \"${CLERK_SECRET_KEY}\"} to the source, or leave the schedule out", at)
	}
}

// foreign finds fields that only another provider's sources have.
func (d *decoder) foreign(s *Source, path string) {
	for _, f := range fields(reflect.TypeFor[Source]()) {
		at := join(path, f.name)
		if f.only != "" && s.Provider != "" && f.only != s.Provider && d.given(at) {
			d.problems.Add(d.places[at], "%s belongs to sources of %s only; leave it out", at, f.only)
		}
	}
}
