package postgres

import (
	"slices"
	"strings"

	"rollcall/internal/target"
)

// compiled is a target as statements. They are "" while it is out of service because it doesn't fit its
// table.
type compiled struct {
	*target.Target
	target.Statements
	oid      uint32
	parents  []uint32
	lockable bool // the role may lock the table
	triggers bool // the application has some on it
	// outage is why the target is out of service; nil when it works.
	outage   *outage
	compiler *target.Compiler // it was compiled by
	state    catalogState     // before it was compiled
}

// outage is why a target as a whole can't be written.
type outage struct{ state, message string }

// inOrder puts parents before the tables that reference them, and otherwise goes by name.
// Members of a circle keep their names' order.
func inOrder(targets []*compiled) []*compiled {
	rest := slices.Clone(targets)
	slices.SortFunc(rest, func(a, b *compiled) int { return strings.Compare(a.Name, b.Name) })
	ordered := make([]*compiled, 0, len(rest))
	for len(rest) > 0 {
		next := slices.IndexFunc(rest, func(t *compiled) bool {
			return !slices.ContainsFunc(rest, func(o *compiled) bool {
				return o != t && o.oid != t.oid && slices.Contains(t.parents, o.oid)
			})
		})
		next = max(next, 0)
		ordered = append(ordered, rest[next])
		rest = slices.Delete(rest, next, next+1)
	}
	return ordered
}
