package config

import (
	"slices"
	"strings"
)

func (d *decoder) target(t Target, sources []Source) {
	path := join("targets", t.Name)
	d.from(t, sources, join(path, "from"))
	d.key(t, path)
	for _, c := range t.OnInsert {
		if d.given(join(join(path, "set"), c.Name)) {
			d.problems.Add(c.Pos, "%s stands in set too; keep it in one of them", join(join(path, "on_insert"), c.Name))
		}
	}
	for _, c := range t.OnDelete.Set {
		at := join(join(path, "on_delete"), c.Name)
		switch {
		case slices.Contains(t.Key, c.Name):
			d.problems.Add(c.Pos, "%s is a column of key, which never changes; leave it out", at)
		case d.given(join(path, "where")) && !d.given(join(join(path, "set"), c.Name)):
			d.problems.Add(c.Pos, "%s must stand in set too (such as %s: null), because the target has where: else one who matches again isn't whole", at, c.Name)
		}
	}
}

// from checks that the target's sources exist. Names may come from variables, so they
// are called by their labels.
func (d *decoder) from(t Target, sources []Source, path string) {
	var known []string
	for _, s := range sources {
		known = append(known, s.Name)
	}
	for i, name := range t.From {
		at := item(path, i)
		if slices.Contains(t.From[:i], name) {
			d.problems.Add(d.places[at], "%s: %s stands twice; keep one", path, d.labels[at])
		}
		if slices.Contains(known, name) || len(known) == 0 {
			continue
		}
		guess := ""
		if name := nearest(name, known); name != "" {
			guess = "did you mean " + name + "? "
		}
		d.problems.Add(d.places[at], "%s: %s is no source; %sknown here: %s", path, d.labels[at], guess, strings.Join(known, ", "))
	}
}

func (d *decoder) key(t Target, path string) {
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
	for j, b := range c.Targets {
		i := slices.IndexFunc(c.Targets[:j], func(a Target) bool { return d.sameTable(a, b) && overlap(a, b) })
		if i >= 0 {
			d.problems.Add(b.TablePos, "targets.%s.table is the table of targets.%s too, and their sources overlap; give them different sources with from, or make them one target", b.Name, c.Targets[i].Name)
		}
	}
}

// sameTable leaves out targets whose from couldn't be read: no sources would count as
// all.
func (d *decoder) sameTable(a, b Target) bool {
	for _, t := range []Target{a, b} {
		if t.Table == "" || len(t.From) == 0 && d.given(join("targets", t.Name)+".from") {
			return false
		}
	}
	schemaA, tableA := SplitTable(a.Table)
	schemaB, tableB := SplitTable(b.Table)
	return schemaA == schemaB && tableA == tableB
}

func overlap(a, b Target) bool {
	return len(a.From) == 0 || slices.ContainsFunc(a.From, b.Follows)
}
