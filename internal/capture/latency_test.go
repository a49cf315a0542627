//go:build timing

package capture_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"rollcall/internal/fixture"
)

// From the commit of a sign-up to its profile; idle, one at a time.
func TestLatency(t *testing.T) {
	p := newProject(t)
	p.runUntilTheEnd()
	p.Exec("insert into auth.users (id) values ($1)", fixture.ID(0))
	p.settled()
	var took []time.Duration
	for n := 1; n <= 100; n++ {
		time.Sleep(time.Duration(n%10) * 7 * time.Millisecond) // not in step with the poll
		p.Exec("insert into auth.users (id, email) values ($1, $2)", fixture.ID(n), fmt.Sprint(n, "@x.test"))
		committed := time.Now()
		for len(p.Rows("select 'there' from profiles where id = '"+fixture.ID(n)+"'")) == 0 {
			if time.Since(committed) > 5*time.Second {
				t.Fatal("no profile")
			}
			time.Sleep(time.Millisecond)
		}
		took = append(took, time.Since(committed))
	}
	slices.Sort(took)
	t.Logf("from commit to profile: median %s, longest %s of %d", took[50], took[99], len(took))
	if took[50] > 60*time.Millisecond {
		t.Errorf("the median is %s, want less than 60ms", took[50])
	}
}
