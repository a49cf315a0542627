package reconcile_test

import (
	"testing"

	"rollcall/internal/fixture"
	"rollcall/internal/postgres/directory"
)

// A ban that is over is no difference, also while the roll has not ended it yet.
func TestBanThatIsOver(t *testing.T) {
	t.Parallel()
	p := newProject(t)
	p.InsertUsers(1, 3)
	p.Exec("update auth.users set banned_until = now() + interval '1 h' where id <> '" + fixture.ID(3) + "'")
	p.wantRun(directory.Reconciled{Created: 3})
	p.Want("select id from rollcall.users where banned order by id", fixture.ID(1), fixture.ID(2))
	for _, table := range []string{"auth.users", "rollcall.users"} { // as if an hour had passed for one
		p.Exec("update " + table + " set banned_until = banned_until - interval '1 h' where id = '" + fixture.ID(1) + "'")
	}
	p.wantRun(directory.Reconciled{Unchanged: 3})
	if ended, err := p.DB.Roll().EndBans(t.Context()); ended != 1 || err != nil {
		t.Errorf("%d bans ended, error %v", ended, err)
	}
	p.Want("select id from rollcall.users where banned order by id", fixture.ID(2))
	p.wantRun(directory.Reconciled{Unchanged: 3})
}
