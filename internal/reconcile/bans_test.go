package reconcile_test

import (
	"testing"

	"rollcall/internal/postgres"
)

// A ban that is over is no difference, also while the roll has not ended it yet.
func TestBanThatIsOver(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.users(1, 3)
	h.exec("update auth.users set banned_until = now() + interval '1 h' where id <> '" + id(3) + "'")
	h.wantRun(postgres.Reconciled{Created: 3})
	h.want("select id from rollcall.users where banned order by id", id(1), id(2))
	for _, table := range []string{"auth.users", "rollcall.users"} { // as if an hour had passed for one
		h.exec("update " + table + " set banned_until = banned_until - interval '1 h' where id = '" + id(1) + "'")
	}
	h.wantRun(postgres.Reconciled{Unchanged: 3})
	if ended, err := h.DB.EndBans(t.Context()); ended != 1 || err != nil {
		t.Errorf("%d bans ended, error %v", ended, err)
	}
	h.want("select id from rollcall.users where banned order by id", id(2))
	h.wantRun(postgres.Reconciled{Unchanged: 3})
}
