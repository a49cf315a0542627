package config

import (
	"slices"
	"strings"

	"rollcall/internal/target"
)

func (d *decoder) target(t *target.Target, sources []Source) {
	path := join("targets", t.Name)
	d.from(t, sources, join(path, "from"))
	d.key(t, path)
	for _, a := range t.OnInsert {
		if d.given(join(join(path, "set"), a.Column)) {
			at := join(join(path, "on_insert"), a.Column)
			d.problems.Add(d.places[at], "%s stands in set too; keep it in one of them", at)
		}
	}
	for _, a := range t.OnDelete.Set {
		at := join(join(path, "on_delete"), a.Column)
		switch {
		case slices.Contains(t.Key, a.Column):
			d.problems.Add(d.places[at], "%s is a column of key, which never changes; leave it out", at)
		case d.given(join(path, "where")) && !d.given(join(join(path, "set"), a.Column)):
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
		guess := ""
		if name := nearest(o.Source, known); name != "" {
			guess = "did you mean " + name + "? "
		}
		d.problems.Add(d.places[at], "%s: %s is no source; %sknown here: %s", path, d.labels[at], guess, strings.Join(known, ", "))
	}
}

func (d *decoder) key(t *target.Target, path string) {
	for i, column := range t.Key {
		at := item(join(path, "key"), i)
		label := d.labels[at]
		switch {
		case slices.Contains(t.Key[:i], column):
			d.problems.Add(d.places[at], "%s.key: %s stands twice; keep one", path, label)
		case d.given(join(path, "set")) && !d.given(join(join(path, "set"), column)):
			d.problems.Add(d.places[at], "%s.key: %s doesn't stand in set; add it there, from new.source, new.id or constants", path, label)
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
