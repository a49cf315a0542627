//go:build timing

package roll_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"rollcall/internal/event"
	"rollcall/internal/fixture"
)

// From the event of the user that a parked membership waits for to the membership's row; idle, one at a time.
func TestLatencyOfAWaitingMembership(t *testing.T) {
	b := fixture.NewBench(t, teamTables+fixture.PTable+"alter table members add foreign key (user_id) references p",
		append(teamTargets(), fixture.Everyone())...)
	b.Applies(fixture.Applied, said(organization("t1", 1, "Team")))
	var took []time.Duration
	for n := 1; n <= 50; n++ {
		user := fmt.Sprint("u", n)
		b.Applies(fixture.All(event.Parked, 1), joined(life{fmt.Sprint("m", n), "t1", user, 1}, 5, "admin"))
		before := time.Now()
		b.Applies(fixture.Applied, fixture.Updated(user, 1, user+"@x"))
		for len(b.Rows("select 'there' from members where user_id = '"+user+"'")) == 0 {
			if time.Since(before) > 5*time.Second {
				t.Fatal("the membership has no row")
			}
			time.Sleep(time.Millisecond)
		}
		took = append(took, time.Since(before))
	}
	slices.Sort(took)
	longest := took[len(took)-1]
	t.Logf("from the user's event to the membership's row: median %s, longest %s of %d", took[len(took)/2], longest, len(took))
	if longest > 100*time.Millisecond {
		t.Errorf("the longest is %s, want less than 100ms", longest)
	}
}
