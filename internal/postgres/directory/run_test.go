package directory

import (
	"testing"

	"rollcall/internal/must"
)

// What a replica that was stopped for a while still records does not change a run that another
// replica has ended.
func TestRunStaysEnded(t *testing.T) {
	t.Parallel()
	b := newBench(t, "")
	first := must.Get(b.BeginRun(t.Context(), "app", "a list"))(t)
	first.Created, first.Position = 1, "1"
	must.Do(t, first.Save(t.Context()))
	first.Release() // as PostgreSQL does when it is silent
	second := must.Get(b.BeginRun(t.Context(), "app", "a list"))(t)
	defer second.Release()
	if second.Position != "1" {
		t.Errorf("it goes on at %q", second.Position)
	}
	second.Created, second.Position = 3, "3"
	must.Do(t, second.End(t.Context(), nil))
	first.Created, first.Position = 2, "2"
	must.Do(t, first.Save(t.Context()))
	b.WantRows("select created, position, finished_at is not null from rollcall.reconciliations", "3|3|t")
}
