package config

import (
	"reflect"
	"slices"
	"strings"

	"rollcall/internal/target"
)

// check finds the mistakes that no field shows alone.
func (d *decoder) check(c *Config) {
	if c.Listen == c.AdminListen && !strings.HasSuffix(c.Listen, ":0") {
		d.problems.Add(d.place("admin_listen"), "admin_listen is the address of listen too; give it its own, such as 127.0.0.1:8081")
	}
	if d.given("targets") && !d.given("sources") {
		d.problems.Add(d.place("targets"), "targets have no sources to follow; add sources")
	}
	d.admins(c)
	for i := range c.Sources {
		d.source(&c.Sources[i])
		d.functionOf(&c.Sources[i], c.Sources[:i])
	}
	for i := range c.Targets {
		d.target(&c.Targets[i], c.Sources)
	}
	d.sharing(c)
	d.notifications(c)
}

// admins finds tokens that do not tell who holds them.
func (d *decoder) admins(c *Config) {
	all := c.Admins()
	for i, token := range all {
		at := join("admin_tokens", token.Name)
		for _, other := range all[:i] {
			switch {
			case other.Name == token.Name:
				d.problems.Add(d.place(at), "%s has the name of the holder of admin_token; give it another name, or leave admin_token out", at)
			case other.Token.Equal(token.Token):
				d.problems.Add(d.place(at), "%s has the token of %s too; give each holder a token of their own", at, other.Name)
			}
		}
	}
}

// source checks one source and completes it.
func (d *decoder) source(s *Source) {
	path := join("sources", s.Name)
	d.foreign(s, path)
	slices.SortFunc(s.Claims, func(a, b target.Assignment) int { return strings.Compare(a.Column, b.Column) })
	d.admission(s, join(path, "admission"))
	if s.API != nil && strings.HasPrefix(s.API.Key.Reveal(), "pk_") {
		at := join(path, "api", "key")
		d.problems.AddAs(CodeSecret, d.values[at], "%s: the value is Clerk's publishable key, which opens nothing; copy the secret key, which starts with sk_", at)
	}
	if s.Provider == Clerk && !d.given(join(path, "api")) && s.Reconcile != nil && s.Reconcile.Schedule != "" {
		at := join(path, "reconcile", "schedule")
		d.problems.Add(d.place(at), "%s wants the API, which lists the users; add api: {key: \"${CLERK_SECRET_KEY}\"} to the source, or leave the schedule out", at)
	}
}

// functionOf finds claims whose function can't have a name of its own.
func (d *decoder) functionOf(s *Source, before []Source) {
	if len(s.Claims) == 0 {
		return
	}
	at := join("sources", s.Name, "claims")
	name := func(source string) string { return (&target.Claims{Source: source}).Function() }
	if len(s.Name) > target.MaxSource {
		d.problems.Add(d.place(at), "%s: PostgreSQL would cut the name of the function rollcall_api.%s; give the source a name of at most %d characters",
			at, name(s.Name), target.MaxSource)
	}
	for _, other := range before {
		if len(other.Claims) > 0 && other.Name != s.Name && name(other.Name) == name(s.Name) {
			d.problems.Add(d.place(at), "%s: the claims of source %s have the function rollcall_api.%s already; give one of the sources another name",
				at, other.Name, name(s.Name))
		}
	}
}

// foreign finds fields that only another provider's sources have.
func (d *decoder) foreign(s *Source, path string) {
	for _, f := range fields(reflect.TypeFor[Source]()) {
		at := join(path, f.name)
		if f.only != "" && s.Provider != "" && f.only != s.Provider && d.given(at) {
			d.problems.AddAs(CodeField, d.places[at], "%s belongs to sources of %s only; leave it out", at, f.only)
		}
	}
}

func (d *decoder) target(t *target.Target, sources []Source) {
	path := join("targets", t.Name)
	d.from(t, sources, join(path, "from"))
	d.roll(t, sources, path)
	d.key(t, path)
	for _, a := range t.OnInsert {
		if d.given(join(path, "set", a.Column)) {
			at := join(path, "on_insert", a.Column)
			d.problems.Add(d.places[at], "%s stands in set too; keep it in one of them", at)
		}
	}
	for _, a := range t.OnDelete.Set {
		at := join(path, "on_delete", a.Column)
		switch {
		case slices.Contains(t.Key, a.Column):
			d.problems.AddAs(string(target.OnDeleteKey), d.places[at], "%s is a column of key, which never changes; leave it out", at)
		case d.given(join(path, "where")) && !d.given(join(path, "set", a.Column)):
			d.problems.Add(d.places[at], "%s must stand in set too (such as %s: null), because the target has where: else one who matches again isn't whole", at, a.Column)
		}
	}
}

// from checks that the target's sources exist. Names may come from variables, so they
// are called by their labels.
func (d *decoder) from(t *target.Target, sources []Source, path string) {
	var known []string
	for _, s := range sources {
		known = append(known, s.Name)
	}
	for i, o := range t.From {
		at := item(path, i)
		if slices.Contains(t.From[:i], o) {
			d.problems.Add(d.places[at], "%s: %s stands twice; keep one", path, d.labels[at])
		}
		if slices.Contains(known, o.Source) || len(known) == 0 {
			continue
		}
		d.problems.Add(d.places[at], "%s: %s is no source; %s", path, d.labels[at], guess(o.Source, known))
	}
}

// roll checks that the target's sources have its roll.
func (d *decoder) roll(t *target.Target, sources []Source, path string) {
	have, lack := false, 0
	for _, s := range sources {
		switch {
		case !t.Follows(s.Name):
		case s.Has(t.Roll):
			have = true
		case len(t.From) == 0:
			lack++
		default:
			at := slices.IndexFunc(t.From, func(o target.Origin) bool { return o.Source == s.Name })
			d.problems.Add(d.places[item(join(path, "from"), at)], "%s.from: a source of %s has no %s; name sources of clerk", path, s.Provider, t.Roll)
		}
	}
	if lack > 0 && !have && !d.given(join(path, "from")) {
		d.problems.Add(d.values[join(path, "roll")], "%s.roll: no source has %s; they come from a source of clerk", path, t.Roll)
	}
}

func (d *decoder) key(t *target.Target, path string) {
	for i, column := range t.Key {
		at := item(join(path, "key"), i)
		label := d.labels[at]
		switch {
		case slices.Contains(t.Key[:i], column):
			d.problems.Add(d.places[at], "%s.key: %s stands twice; keep one", path, label)
		case d.given(join(path, "set")) && !d.given(join(path, "set", column)):
			d.problems.AddAs(string(target.KeyIncomplete), d.places[at], "%s.key: %s doesn't stand in set; add it there, from new.source, new.id or constants", path, label)
		}
	}
}

// sharing finds targets that would write the same rows: one table and one source in
// common. Each is reported once, where the later one names the table.
func (d *decoder) sharing(c *Config) {
	for j := range c.Targets {
		b := &c.Targets[j]
		for i := range c.Targets[:j] {
			if a := &c.Targets[i]; d.sameTable(a, b) && overlap(a, b) {
				d.problems.Add(d.values[join("targets", b.Name)+".table"], "targets.%s.table is the table of targets.%s too, and their sources overlap; give them different sources with from, or make them one target", b.Name, a.Name)
				break
			}
		}
	}
}

// sameTable leaves out targets whose from couldn't be read: no sources would count as
// all.
func (d *decoder) sameTable(a, b *target.Target) bool {
	for _, t := range []*target.Target{a, b} {
		if t.Table == "" || len(t.From) == 0 && d.given(join("targets", t.Name)+".from") {
			return false
		}
	}
	schemaA, tableA := target.SplitTable(a.Table)
	schemaB, tableB := target.SplitTable(b.Table)
	return schemaA == schemaB && tableA == tableB
}

func overlap(a, b *target.Target) bool {
	return len(a.From) == 0 || slices.ContainsFunc(a.From, func(o target.Origin) bool { return b.Follows(o.Source) })
}
