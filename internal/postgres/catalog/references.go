package catalog

import (
	"fmt"
	"slices"

	"rollcall/internal/target"
)

// reference is a foreign key to a table of a provider's users.
type reference struct {
	Name       string
	Columns    []string
	Required   bool // one of them may not be null
	Table      string
	Referenced []string
	OnDelete   string // confdeltype of pg_constraint
}

// lintReferences warns of foreign keys that keep the provider from deleting its users, or
// that delete the rows that on_delete keeps.
func lintReferences(t *target.Target, list []reference) []target.Finding {
	var found []target.Finding
	for _, r := range list {
		if code, what := lintReference(t, r); what != "" {
			found = append(found, target.Finding{Code: code, Target: t.Name, At: t.At, What: what, Severity: target.Warning})
		}
	}
	return found
}

func lintReference(t *target.Target, r reference) (target.Code, string) {
	const noAction, restrict, setNull, cascade = "a", "r", "n", "c"
	blocks := r.OnDelete == noAction || r.OnDelete == restrict || r.OnDelete == setNull && r.Required
	switch {
	case blocks:
		return target.ReferenceBlocks, fmt.Sprintf("the foreign key %s to %s keeps the provider from deleting a user who has a row here; run: %s",
			r.Name, r.Table, remedyOf(t, r))
	case r.OnDelete == cascade && t.OnDelete.Action != target.DeleteRow:
		return target.ReferenceDeletes, fmt.Sprintf("the foreign key %s to %s deletes the row when the provider deletes the user, "+
			"so on_delete keeps nothing; run: %s", r.Name, r.Table, remedyOf(t, r))
	}
	return "", ""
}

// remedyOf is the statement after which the foreign key does what on_delete says.
func remedyOf(t *target.Target, r reference) string {
	drop := fmt.Sprintf("alter table %s drop constraint %s", target.QuoteTable(t.Table), target.Quote(r.Name))
	isKey := slices.ContainsFunc(r.Columns, func(name string) bool { return slices.Contains(t.Key, name) })
	action := "cascade"
	if t.OnDelete.Action != target.DeleteRow {
		if r.Required || isKey { // a row that stays can't point to a user who is gone
			return drop
		}
		action = "set null"
	}
	return fmt.Sprintf("%s, add constraint %s foreign key (%s) references %s (%s) on delete %s",
		drop, target.Quote(r.Name), target.QuoteAll(r.Columns), target.QuoteTable(r.Table), target.QuoteAll(r.Referenced), action)
}
