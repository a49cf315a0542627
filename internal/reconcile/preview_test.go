package reconcile_test

import (
	"strings"
	"testing"

	"rollcall/internal/fixture"
	"rollcall/internal/must"
	"rollcall/internal/reconcile"
)

// A dry run stops where a run does, with the same advice: who would be brought counts as known.
func TestDryRunAdvisesAsARun(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		gone, come int
		wrong      string // of max_delete
		want       string
	}{
		"one":                 {1, 0, "0%", "1 of the 20 users that the roll knows of supabase is gone from auth.users (5%), more than max_delete (0%)"},
		"many":                {10, 0, "5%", "10 of the 20 users that the roll knows of supabase are gone from auth.users (50%), more than max_delete (5%)"},
		"with those who come": {10, 20, "5%", "10 of the 40 users that the roll knows of supabase are gone from auth.users (25%), more than max_delete (5%)"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := reconciled(t, 20)
			p.Exec("delete from auth.users where id <= '" + fixture.ID(test.gone) + "'")
			p.InsertUsers(101, test.come)
			p.MaxDelete = map[string]float64{"0%": 0, "5%": 0.05}[test.wrong]
			tally, err := reconcile.Preview(t.Context(), p.Config, func(reconcile.Finding) error { return nil })
			must.Fail(t, err, reconcile.ErrStopped, "a run would stop here and delete nobody: "+test.want)
			if tally.Deleted != int64(test.gone) || strings.Contains(err.Error(), "stopped") {
				t.Errorf("got %+v, %v", tally, err)
			}
			_, err = reconcile.Run(t.Context(), p.Config)
			must.Fail(t, err, reconcile.ErrStopped, "stopped, nobody was deleted: "+test.want, "To see who: rollcall reconcile supabase --dry-run --max-delete ")
			p.Want("select count(*)::text from rollcall.users where deleted_at is not null", "0")
		})
	}
}
