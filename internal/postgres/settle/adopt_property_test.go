package settle_test

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"rollcall/internal/event"
	"rollcall/internal/fixture"
	"rollcall/internal/must"
	"rollcall/internal/pgtest"
	"rollcall/internal/postgres/settle"
	"rollcall/internal/testtag"
)

// wrongs are what no moment of a race may bring about, noted by triggers: a user gets a new row while one waits that
// has their address; one takes over a row whose address is not theirs; the row of a user is given to another one; a
// row goes whose user is not deleted.
const wrongs = `create table wrong (what text);
create table taken_over (auth_id text);
create function watch() returns trigger language plpgsql as $$ begin
  if current_setting('application_name') = 'application' then
    return null;
  elsif tg_op = 'INSERT' and exists (select from people where auth_id is null and lower(email) = lower(new.email)) then
    insert into wrong values ('passed over for ' || new.auth_id);
  elsif tg_op = 'UPDATE' and old.auth_id <> new.auth_id then
    insert into wrong values (old.auth_id || ' lost a row to ' || new.auth_id);
  elsif tg_op = 'UPDATE' and old.auth_id is null then
    insert into taken_over values (new.auth_id);
    if not exists (select from rollcall.users where id = new.auth_id and email_verified and lower(email) = lower(old.email)) then
      insert into wrong values (new.auth_id || ' has no right to a row');
    end if;
  elsif tg_op = 'DELETE' and not exists (select from rollcall.users where id = old.auth_id and deleted_at is not null) then
    insert into wrong values ('deleted the row of ' || coalesce(old.auth_id, 'nobody'));
  end if;
  return null;
end $$;
create trigger watch after insert or update or delete on people for each row execute function watch();`

// inTheEnd are the users who are not as they should be once all is quiet: with a row that does not say what the roll
// says, or without one and without the true reason for that.
const inTheEnd = `with living as (
  select u.id, lower(u.email) as address, u.email, u.email_verified as verified, t.id as row, t.email as has
  from rollcall.users u left join people t on t.auth_id = u.id where u.deleted_at is null
), rowless as (
  select l.*, case when verified then count(*) filter (where verified) over same else count(*) over same end as rivals,
    (select count(*) from people t where lower(t.email) = l.address and t.auth_id is null) as free,
    (select count(*) from people t where lower(t.email) = l.address and t.auth_id is not null) as taken
  from living l where row is null window same as (partition by address)
), reasons as (
  select id, case when taken > 0 then 'match: the row of another user%'
    when free > 1 then 'match: several rows without a key%'
    when free = 1 and not verified then 'match: a row without a key has%'
    when rivals > 1 then 'match: several users with one%' end as reason
  from rowless
), parked as (select user_id as id, error, sqlstate from rollcall.parked)
select 'no row and no reason: ' || id || ' ' || coalesce(error, '-') from reasons left join parked using (id) where coalesce(error not like reason, true)
union all
select 'parked beside a row: ' || id || ' ' || error from living join parked using (id) where row is not null
  and not (sqlstate = '23505' and exists (select from people t where t.email = living.email and t.id <> living.row))
union all
select 'another address: ' || id || ' ' || coalesce(has, '-') from living where row is not null and has is distinct from email and id not in (select id from parked)
union all
select 'a row of a deleted user: ' || u.id from rollcall.users u join people t on t.auth_id = u.id where u.deleted_at is not null
union all
select what from wrong`

// adoptionRace is replicas, the application and an administrator at one table.
type adoptionRace struct {
	*fixture.Bench
	version, batches atomic.Int64
	ending           atomic.Bool
	work             sync.WaitGroup
}

// address is one of a few, in any letter case.
func address(random *rand.Rand) string {
	a := fmt.Sprintf("%c@x.test", 'a'+random.IntN(16))
	if random.IntN(3) == 0 {
		return strings.ToUpper(a)
	}
	return a
}

// run repeats do, which has a random generator of its own, until the race ends.
func (a *adoptionRace) run(seed uint64, do func(*rand.Rand)) {
	random := rand.New(rand.NewPCG(seed, 2))
	a.work.Go(func() {
		for !a.ending.Load() {
			do(random)
		}
	})
}

// replica submits batches, settles users and whole spans, and tries parked users again.
func (a *adoptionRace) replica(b *fixture.Bench, random *rand.Rand) {
	ctx := a.T.Context()
	var err error
	switch t := b.Named("people"); random.IntN(12) {
	case 0, 1:
		if err = b.Probe(ctx); err == nil {
			_, err = b.Parked.CatchUp(ctx, "people")
		}
	case 2:
		_, err = b.Parked.Retry(ctx, "people", nil)
	case 3, 4:
		if t.Outage == nil {
			err = b.SettleSpan(ctx, t, settle.Span{Source: "app", After: "", To: "z"})
		}
	default:
		var events []event.Event
		for _, n := range random.Perm(24)[:1+random.IntN(12)] {
			id, version := fmt.Sprintf("u%02d", n), a.version.Add(1)
			switch n := random.IntN(100); {
			case n < 1:
				events = append(events, fixture.Gone(id, version))
			case n < 20:
				events = append(events, fixture.Updated(id, version, address(random)))
			default:
				events = append(events, fixture.Verified(id, version, address(random)))
			}
		}
		_, err = b.Apply(ctx, events)
		a.batches.Add(1)
	}
	if err != nil {
		a.T.Log(err) // a session that was ended, or a lock
	}
}

// application changes rows. What makes a row that a user could take over, or leaves a user without one, locks the
// table, so that it is before or after a transaction of Rollcall's; the rest comes at any moment.
func (a *adoptionRace) application(conn *pgx.Conn, random *rand.Rand) {
	const whole, one = "lock table people in share row exclusive mode; ", "(select id from people order by random() limit 1)"
	statement := []string{
		whole + "insert into people (email) values ('" + address(random) + "')",
		whole + "insert into people (email) values ('" + address(random) + "')",
		whole + "update people set email = '" + address(random) + "' where auth_id is null and id = " + one,
		whole + "update people set auth_id = null where id = " + one,
		whole + "delete from people where id = " + one,
		"delete from people where auth_id is null and id = " + one,
		"update people set email = null where auth_id is null and id = " + one,
		fmt.Sprintf("update people set auth_id = 'u%02d' where auth_id is null and id = %s", random.IntN(24), one),
		"select from people where id = " + one + " for update; select pg_sleep(random() * 0.4)",
		"lock table people; select pg_sleep(random() * 0.4)",
	}[min(random.IntN(10), random.IntN(13))]
	_, _ = conn.PgConn().Exec(a.T.Context(), "begin; set local lock_timeout = '200ms'; "+statement+"; commit").ReadAll()
	_, _ = conn.Exec(a.T.Context(), "rollback")
	time.Sleep(time.Duration(random.IntN(20)) * time.Millisecond)
}

// Whatever happens at once, in the end each living user has a row or the true reason why not, and no row is lost.
func TestAdoptionProperty(t *testing.T) {
	t.Parallel()
	seed := testtag.Seed(t)
	for n := range uint64(testtag.Part(40)) {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			t.Parallel()
			runAdoptionRace(t, seed+n)
		})
	}
}

func runAdoptionRace(t *testing.T, seed uint64) {
	random := rand.New(rand.NewPCG(seed, 1))
	schema := fixture.PeopleTable + wrongs
	if random.IntN(2) == 0 {
		schema += "create unique index on people (email);"
	}
	a := &adoptionRace{Bench: fixture.NewBench(t, schema, fixture.Adopting())}
	const named = "set application_name = 'application'"
	a.Exec(named)
	a.Exec("insert into people (email) select chr(97 + n) || '@x.test' from generate_series(0, 15) n")
	for i := range uint64(3) {
		b := a.Replica(fixture.Adopting())
		a.run(random.Uint64()+i, func(r *rand.Rand) { a.replica(b, r) })
	}
	for range 2 {
		conn := pgtest.Connect(t, a.Address)
		conn.Run(named)
		a.run(random.Uint64(), func(r *rand.Rand) { a.application(conn.Conn, r) })
	}
	killer := pgtest.Connect(t, a.Address)
	killer.Run(named)
	a.run(random.Uint64(), func(r *rand.Rand) {
		time.Sleep(time.Duration(r.IntN(300)) * time.Millisecond)
		_, _ = killer.Exec(t.Context(), `select pg_terminate_backend(pid) from pg_stat_activity
			where datname = current_database() and application_name <> 'application' and state <> 'idle' order by random() limit 1`)
	})
	time.Sleep(3 * time.Second)
	a.ending.Store(true)
	a.work.Wait()
	a.calm()
	a.Want(inTheEnd)
	t.Log(a.batches.Load(), a.Rows(`select count(*) || ' users, ' || count(t.id) || ' have a row, ' || (select count(*) from taken_over) || ' rows taken over, '
		|| (select count(*) from rollcall.parked) || ' parked, ' || (select deadlocks from pg_stat_database where datname = current_database()) || ' deadlocks'
		from rollcall.users u left join people t on t.auth_id = u.id where u.deleted_at is null`))
}

// calm tries the parked users until no passing reason is left.
func (a *adoptionRace) calm() {
	a.T.Helper()
	must.Do(a.T, a.Probe(a.T.Context()))
	a.WantOutages()
	a.Exec("update rollcall.users set version = version") // no transaction is at it any more
	users := must.Get(settle.CollectKeys(must.Get(a.SQL.Query(a.T.Context(), "select source, id from rollcall.users"))(a.T), &event.Users))(a.T)
	for range 3 { // what the application has changed, a repair finds
		must.Do(a.T, a.Settle(a.T.Context(), a.Named("people"), users))
		must.Get(a.Parked.Retry(a.T.Context(), "people", nil))(a.T)
	}
}
