package postgres

import (
	"fmt"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"rollcall/internal/event"
	"rollcall/internal/must"
)

// A deferred trigger that refuses one user parks that user alone, also with a state that blames no row:
// it may have asked a server that is away.
func TestDeferredTriggerThatFails(t *testing.T) {
	t.Parallel()
	for _, state := range []string{"08001", "40001", "57P03", "53100", "25006", "23514"} {
		t.Run(state, func(t *testing.T) {
			t.Parallel()
			b := newBench(t, profilesTable+fmt.Sprintf(`create function refuse() returns trigger language plpgsql as $$ begin
				if new.email = 'bad' then raise exception using errcode = '%s', message = 'away'; end if; return null; end $$;
				create constraint trigger refuse after insert or update on p deferrable initially deferred for each row execute function refuse()`, state), profiles())
			b.apply([]event.Outcome{event.Applied, event.Parked}, updated("a", 1, "good"), updated("b", 1, "bad"))
			b.wantRows("select id from p", "a")
		})
	}
}

// Where another transaction holds a row of the roll, a census leaves open what triggers decide.
func TestCensusBesideALockedUser(t *testing.T) {
	t.Parallel()
	b := newBench(t, profilesTable+`create function touch() returns trigger language plpgsql as $$ begin return null; end $$;
		create trigger touch after insert or update on p for each row execute function touch();`, profiles())
	b.apply(all(event.Applied, 1), updated("a", 1, "a@x.test"))
	b.exec("update p set email = 'other'")
	b.exec("begin; update rollcall.users set email = 'b@x.test'")
	c := must.Get(b.Census(t.Context(), CensusOptions{}))(t)
	b.exec("rollback")
	if n := c.Tallies[0].Users[Different]; n != 1 {
		t.Errorf("%d users differ, want 1", n)
	}
}

// What the server answers to the commit of a failed transaction is no success.
func TestCommitThatRollsBack(t *testing.T) {
	t.Parallel()
	b := newBench(t, "")
	err := b.within(t.Context(), func(conn *pgx.Conn) error {
		must.Do(t, run(t.Context(), conn, begin(b.pool.Timeouts()), &result{}))
		_, _ = conn.Exec(t.Context(), "select 1 / 0")
		return run(t.Context(), conn, []step{end()}, &result{})
	})
	if err == nil || !strings.Contains(err.Error(), "ROLLBACK") {
		t.Errorf("got %v", err)
	}
}
