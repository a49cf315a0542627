package target

import (
	"fmt"
	"slices"
)

// Reference is a foreign key to a table of a provider's users.
type Reference struct {
	Name       string
	Columns    []string
	Required   bool // one of them may not be null
	Table      string
	Referenced []string
	OnDelete   string // confdeltype of pg_constraint
}

// LintReferences warns of foreign keys that keep the provider from deleting its users, or
// that delete the rows that on_delete keeps.
func (t *Target) LintReferences(list []Reference) []Finding {
	var found []Finding
	for _, r := range list {
		if what := t.lintReference(r); what != "" {
			found = append(found, Finding{Target: t.Name, At: t.At, What: what, Severity: Warning})
		}
	}
	return found
}

func (t *Target) lintReference(r Reference) string {
	const noAction, restrict, setNull, cascade = "a", "r", "n", "c"
	blocks := r.OnDelete == noAction || r.OnDelete == restrict || r.OnDelete == setNull && r.Required
	switch {
	case blocks:
		return fmt.Sprintf("the foreign key %s to %s keeps the provider from deleting a user who has a row here; run: %s",
			r.Name, r.Table, t.remedy(r))
	case r.OnDelete == cascade && t.OnDelete.Action != DeleteRow:
		return fmt.Sprintf("the foreign key %s to %s deletes the row when the provider deletes the user, "+
			"so on_delete keeps nothing; run: %s", r.Name, r.Table, t.remedy(r))
	}
	return ""
}

// remedy is the statement after which the foreign key does what on_delete says.
func (t *Target) remedy(r Reference) string {
	drop := fmt.Sprintf("alter table %s drop constraint %s", QuoteTable(t.Table), Quote(r.Name))
	isKey := slices.ContainsFunc(r.Columns, func(name string) bool { return slices.Contains(t.Key, name) })
	action := "cascade"
	if t.OnDelete.Action != DeleteRow {
		if r.Required || isKey { // a row that stays can't point to a user who is gone
			return drop
		}
		action = "set null"
	}
	return fmt.Sprintf("%s, add constraint %s foreign key (%s) references %s (%s) on delete %s",
		drop, Quote(r.Name), QuoteAll(r.Columns), QuoteTable(r.Table), QuoteAll(r.Referenced), action)
}
