package settle_test

import (
	"fmt"
	"testing"

	"github.com/jackc/pgx/v5"

	"rollcall/internal/event"
	"rollcall/internal/fixture"
	"rollcall/internal/must"
	"rollcall/internal/pgtest"
	"rollcall/internal/postgres/settle"
)

func TestMain(m *testing.M) { pgtest.Main(m) }

// A deferred trigger that refuses one user parks that user alone, also with a state that names no row:
// it may have asked a server that is away.
func TestDeferredTriggerThatFails(t *testing.T) {
	t.Parallel()
	for _, state := range []string{"08001", "40001", "57P03", "53100", "25006", "23514"} {
		t.Run(state, func(t *testing.T) {
			t.Parallel()
			b := fixture.NewBench(t, fixture.PTable+fmt.Sprintf(`create function refuse() returns trigger language plpgsql as $$ begin
				if new.email = 'bad' then raise exception using errcode = '%s', message = 'away'; end if; return null; end $$;
				create constraint trigger refuse after insert or update on p deferrable initially deferred for each row execute function refuse()`, state), fixture.Everyone())
			b.Applies([]event.Outcome{event.Applied, event.Parked}, fixture.Updated("a", 1, "good"), fixture.Updated("b", 1, "bad"))
			b.Want("select id from p", "a")
		})
	}
}

// What the server answers to the commit of a failed transaction is no success.
func TestCommitThatRollsBack(t *testing.T) {
	t.Parallel()
	b := fixture.NewBench(t, "")
	err := b.Within(t.Context(), func(conn *pgx.Conn) error {
		must.Do(t, settle.Run(t.Context(), conn, settle.Begin(b.Pool.Timeouts())))
		_, _ = conn.Exec(t.Context(), "select 1 / 0")
		return settle.Run(t.Context(), conn, []settle.Step{settle.End()})
	})
	must.Fail(t, err, nil, "ROLLBACK")
}
