package roll_test

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"rollcall/internal/event"
	"rollcall/internal/fixture"
	"rollcall/internal/must"
	"rollcall/internal/pgtest"
	"rollcall/internal/postgres"
	"rollcall/internal/postgres/outbox"
	"rollcall/internal/target"
	"rollcall/internal/testtag"
)

// looksOfUsers is two replicas that both empty the outbox, a slow one that looks at users before
// their changes are committed, and writers of a table of users.
type looksOfUsers struct {
	*fixture.Bench
	replicas [3]*postgres.DB
	early    sync.WaitGroup
	busy     chan struct{}
}

func newLooksOfUsers(t *testing.T) *looksOfUsers {
	t.Helper()
	b := followed(t)
	l := &looksOfUsers{Bench: b, busy: make(chan struct{}, 6)}
	for i := range l.replicas {
		timeout := []time.Duration{2 * time.Second, 2 * time.Second, 2345 * time.Millisecond}[i]
		db := must.Get(postgres.Open(postgres.Config{URL: b.Address, Targets: []target.Target{fixture.Members()}, LockTimeout: timeout, Log: slog.New(slog.DiscardHandler)}))(t)
		t.Cleanup(db.Close)
		must.Get(db.Targets().Check(t.Context()))(t)
		must.Do(t, db.Roll().Follow(t.Context(), "app", "auth.users"))
		l.replicas[i] = db
	}
	must.Do(t, b.DB.Outbox().Install(t.Context(), outbox.Capture{Source: "app", Table: "auth.users"}))
	// The slow replica takes its time between the snapshot of a statement and its write.
	b.Exec(`create function slow() returns trigger language plpgsql as $$ begin
			if current_setting('lock_timeout') = '2345ms' and random() < 0.5 then perform pg_sleep(random() * 0.15);
			elsif random() < 0.02 then perform pg_sleep(random() * 0.02); end if; return new; end $$;
		create trigger slow before insert on rollcall.users for each row execute function slow()`)
	return l
}

// drain applies what waits in the outbox, as long as there is something or the writers write.
func (l *looksOfUsers) drain(db *postgres.DB, random *rand.Rand, writing *atomic.Bool) {
	conn := pgtest.Connect(l.T, l.Address).Conn
	for {
		more := writing.Load()
		rows, _ := conn.Query(l.T.Context(), "select id, user_id, gone from rollcall_provider.outbox order by id limit $1", 1+random.IntN(6))
		at, events := map[string]int{}, []event.Event{}
		var id int64
		var user string
		var gone bool
		_, err := pgx.ForEachRow(rows, []any{&id, &user, &gone}, func() error {
			i, ok := at[user]
			if !ok {
				i = len(events)
				at[user] = i
				events = append(events, event.Event{Source: "app", Op: event.Look, UserID: user})
			}
			if events[i].Captured = append(events[i].Captured, id); gone {
				events[i].Op = event.Delete
			}
			return nil
		})
		if err != nil {
			l.T.Error(err)
			return
		}
		if len(events) == 0 && !more {
			return
		}
		if random.IntN(30) == 0 {
			time.Sleep(100 * time.Millisecond) // it was stopped
		}
		if len(events) == 0 {
			time.Sleep(time.Millisecond)
		} else if _, err := db.Roll().Apply(l.T.Context(), events); err != nil {
			l.T.Log(err) // it tries again
		}
	}
}

// speak has a replica look at a user at once, beside everything else; not at all if it can't be at
// once, for a look that comes later than the change mends what an early one has done.
func (l *looksOfUsers) speak(db *postgres.DB, user string) {
	select {
	case l.busy <- struct{}{}:
	default:
		return
	}
	l.early.Go(func() {
		defer func() { <-l.busy }()
		if _, err := db.Roll().Apply(l.T.Context(), []event.Event{{Source: "app", Op: event.Look, UserID: user}}); err != nil {
			l.T.Log(err)
		}
	})
}

// write changes users between two numbers, one after the other, and speaks of each before the commit.
func (l *looksOfUsers) write(ctx context.Context, random *rand.Rand, from, to int) {
	conn := pgtest.Connect(l.T, l.Address).Conn
	changes := []string{
		"insert into auth.users (id, email, updated_at) values ($1, $2, now() + $3 * interval '1 ms') on conflict (id) do update set email = excluded.email, deleted_at = null",
		"update auth.users set email = $2, updated_at = now() + $3 * interval '1 ms' where id = $1",
		"update auth.users set email = $2, updated_at = now() + $3 * interval '1 ms' where id = $1",
		"update auth.users set email = 'hash', deleted_at = now() where id = $1 and $2::text <> '' and $3::int < 100",
		"delete from auth.users where id = $1 and $2::text <> '' and $3::int < 100",
	}
	for n := from; n < to; n++ {
		for step := range 4 {
			change := changes[0]
			if step > 0 {
				change = changes[random.IntN(len(changes))]
			}
			err := pgx.BeginFunc(ctx, conn, func(tx pgx.Tx) error {
				_, err := tx.Exec(ctx, change, fixture.ID(n), fmt.Sprint(random.Uint32(), "@x.test"), random.IntN(200)-100)
				if random.IntN(2) == 0 {
					l.speak(l.replicas[2], fixture.ID(n))
					time.Sleep(time.Duration(random.IntN(8)) * time.Millisecond)
				}
				if err == nil && random.IntN(8) == 0 {
					return pgx.ErrTxCommitRollback // as an auth server does
				}
				return err
			})
			if err != nil && err != pgx.ErrTxCommitRollback { //nolint:errorlint // it is ours
				l.T.Error(err)
				return
			}
		}
	}
}

// Looks that overlap, at two replicas which both empty the outbox, end in what the table says: 16,000
// users with four changes each.
func TestAnyLooksEndInTheTable(t *testing.T) {
	t.Parallel()
	const writers = 6
	users := testtag.Part(16000)
	seed := testtag.Seed(t)
	l := newLooksOfUsers(t)
	var writing atomic.Bool
	writing.Store(true)
	var drains, writes sync.WaitGroup
	for i, db := range l.replicas[:2] {
		drains.Go(func() { l.drain(db, rand.New(rand.NewPCG(seed, uint64(i))), &writing) })
	}
	for w := range writers {
		writes.Go(func() {
			l.write(t.Context(), rand.New(rand.NewPCG(seed, uint64(10+w))), users*w/writers, users*(w+1)/writers)
		})
	}
	writes.Wait()
	l.early.Wait()
	writing.Store(false)
	drains.Wait()
	l.Want("select count(*) from rollcall_provider.outbox", "0")
	l.Want(noPlaceholders, "0")
	l.Want(`select 'roll', coalesce(a.id::text, u.id) from (select * from auth.users where deleted_at is null) a
		full join (select * from rollcall.users where deleted_at is null) u on u.id = a.id::text where (a.email, a.updated_at) is distinct from (u.email, u.updated_at)`)
	l.Want(`select 'target', coalesce(a.id, p.id) from (select * from auth.users where deleted_at is null) a full join p on p.id = a.id where a.email is distinct from p.email`)
}
