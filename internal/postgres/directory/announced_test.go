package directory

import (
	"strings"
	"testing"
)

// What is due is found by an index, in its order, whatever the statistics say.
func TestAnnouncedGoesByTheIndex(t *testing.T) {
	t.Parallel()
	b := newBench(t, "")
	b.Run("set enable_seqscan = off; set plan_cache_mode = force_generic_plan")
	for name, test := range map[string]struct{ statement, arguments string }{
		"announced": {announcedSQL, "'app', interval '2 s', 500"},
		"due":       {announcedSourcesSQL, "'{app}', interval '2 s'"},
	} {
		b.Run("prepare " + name + " as " + test.statement)
		plan := strings.Join(b.Rows("explain (costs off) execute "+name+" ("+test.arguments+")"), "\n")
		if !strings.Contains(plan, "Index Scan using events_announced") || strings.Contains(plan, "Sort") || strings.Contains(plan, "Seq Scan") {
			t.Errorf("%s:\n%s", name, plan)
		}
	}
}
