package survey

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"
)

// Parked counts the users that a target refuses.
type Parked struct {
	Target  string    `json:"target"`
	Users   int64     `json:"users"`
	GivenUp int64     `json:"given_up"`
	Oldest  time.Time `json:"oldest"` // since when the first of them is parked
}

// Parked returns the targets that refuse users, also those that are configured no more.
func (s Survey) Parked(ctx context.Context) ([]Parked, error) {
	rows, _ := s.Pool.Query(ctx, `
select target, pg_catalog.count(*), pg_catalog.count(*) filter (where given_up), pg_catalog.min(since)
from rollcall.parked group by target order by target`)
	list, err := pgx.CollectRows(rows, pgx.RowToStructByPos[Parked])
	return list, s.wrap(err, "look at parked users")
}

// Kept is a user some of whose columns keep their last known value.
type Kept struct {
	Source, ID string
	Columns    []string
	Users      int64 // of the source, counted up to a thousand
}

// Kept returns one such user of each source.
func (s Survey) Kept(ctx context.Context, sources []string) ([]Kept, error) {
	rows, _ := s.Pool.Query(ctx, `
select w.source, k.id, k.kept, (
  select pg_catalog.count(*) from (select from rollcall.users u where u.source = w.source and u.kept is not null limit 1000) n)
from pg_catalog.unnest($1::text[]) w (source)
cross join lateral (
  select u.id, u.kept from rollcall.users u where u.source = w.source and u.kept is not null order by u.id limit 1
) k`, sources)
	list, err := pgx.CollectRows(rows, pgx.RowToStructByPos[Kept])
	return list, s.wrap(err, "look for users with kept columns")
}

// Job is the last run of a job.
type Job struct {
	Name string `json:"name"`
	// State is running, waiting, done or failed.
	State string    `json:"state"`
	At    time.Time `json:"at"` // since when it is so
	Error string    `json:"error,omitempty"`
}

// jobsSQL: River keeps a run for a day, and one that failed for a week.
const jobsSQL = `
select distinct on (j.name) j.name, j.state, j.at, j.error from (
  select args->>'name'::text as name,
    case state::text when 'running' then 'running' when 'completed' then 'done' when 'discarded' then 'failed'
      when 'cancelled' then 'failed' else 'waiting' end as state,
    coalesce(finalized_at, attempted_at, scheduled_at) as at,
    coalesce(case when state::text in ('discarded', 'cancelled')
      then errors[pg_catalog.cardinality(errors)]->>'error'::text end, '') as error, id
  from rollcall.river_job where kind = 'rollcall_job'
) j where j.name is not null order by j.name, j.id desc`

// Jobs returns the last run of each job.
func (s Survey) Jobs(ctx context.Context) ([]Job, error) {
	rows, _ := s.Pool.Query(ctx, jobsSQL)
	list, err := pgx.CollectRows(rows, pgx.RowToStructByPos[Job])
	return list, s.wrap(err, "look at the jobs")
}

// Replica is a running serve.
type Replica struct {
	ID     string    `json:"id"`
	Config string    `json:"config"` // tells its configuration from those of others; of an older version, its targets
	SeenAt time.Time `json:"seen_at"`
}

// Replicas returns those that have noted themselves within a time.
func (s Survey) Replicas(ctx context.Context, within time.Duration) ([]Replica, error) {
	rows, _ := s.Pool.Query(ctx, `
select id, coalesce(configuration, pg_catalog.lpad(pg_catalog.to_hex(config), 8, '0')), seen_at from rollcall.replicas
where seen_at > pg_catalog.now() - $1::interval order by id`, within)
	list, err := pgx.CollectRows(rows, pgx.RowToStructByPos[Replica])
	return list, s.wrap(err, "look at the replicas")
}

// Notification is what is left to do of a notification, or has failed.
type Notification struct {
	Name    string
	Owned   bool // a running replica has it
	Pending int64
	Oldest  time.Time // since when the oldest of them waits
	// Refused is since when the oldest waits that was tried, the zero time for none, and Error what became of that.
	// Private: one was not sent because the address is not public.
	Refused   time.Time
	Error     string
	Private   bool
	Failed    int64
	LastError string
}

const notificationsSQL = `
select w.name, exists (
    select from rollcall.rules r join rollcall.replicas a on a.id = r.replica
    where r.name = w.name and a.seen_at > pg_catalog.now() - $1::interval
  ),
  w.pending, coalesce(w.oldest, 'epoch'), coalesce(w.refused, '0001-01-01 00:00:00+00'), coalesce(w.error, ''),
  w.private, w.failed, coalesce(w.last_error, '')
from (
  select n.name,
    pg_catalog.count(*) filter (where n.state = 'pending') as pending,
    pg_catalog.min(n.noted_at) filter (where n.state = 'pending') as oldest,
    pg_catalog.min(n.noted_at) filter (where n.state = 'pending' and n.attempts > 0) as refused,
    (pg_catalog.array_agg(n.error order by n.noted_at) filter (where n.state = 'pending' and n.attempts > 0))[1] as error,
    coalesce(pg_catalog.bool_or(n.error like 'the address is not public%') filter (where n.state = 'pending'), false) as private,
    pg_catalog.count(*) filter (where n.state = 'failed') as failed,
    (pg_catalog.array_agg(n.error order by n.ended_at desc) filter (where n.state = 'failed'))[1] as last_error
  from rollcall.notifications n where n.state in ('pending', 'failed')
  group by n.name
) w
order by w.name`

// Notifications returns what waits or has failed, by name. A replica runs that has noted itself within a time.
func (s Survey) Notifications(ctx context.Context, within time.Duration) ([]Notification, error) {
	rows, _ := s.Pool.Query(ctx, notificationsSQL, within)
	list, err := pgx.CollectRows(rows, pgx.RowToStructByPos[Notification])
	return list, s.wrap(err, "look at the notifications")
}
