package directory

import "testing"

// What a replica that was stopped for a while still records does not change a run that another
// replica has ended.
func TestRunStaysEnded(t *testing.T) {
	t.Parallel()
	b := newBench(t, "")
	first, err := b.BeginRun(t.Context(), "app", "a list")
	if err != nil {
		t.Fatal(err)
	}
	first.Created, first.Position = 1, "1"
	if err := first.Save(t.Context()); err != nil {
		t.Fatal(err)
	}
	first.Release() // as PostgreSQL does when it is silent
	second, err := b.BeginRun(t.Context(), "app", "a list")
	if err != nil {
		t.Fatal(err)
	}
	defer second.Release()
	if second.Position != "1" {
		t.Errorf("it goes on at %q", second.Position)
	}
	second.Created, second.Position = 3, "3"
	if err := second.End(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	first.Created, first.Position = 2, "2"
	if err := first.Save(t.Context()); err != nil {
		t.Fatal(err)
	}
	b.WantRows("select created, position, finished_at is not null from rollcall.reconciliations", "3|3|t")
}
