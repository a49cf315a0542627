package audit

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"rollcall/internal/event"
	"rollcall/internal/postgres/sqlstate"
)

// ParkedGroup is the rows of a source's roll that a target refuses in the same words: users, organisations or
// memberships, as Roll says.
type ParkedGroup struct {
	Target string `json:"target"`
	Source string `json:"source"`
	Users  int64  `json:"users"` // how many rows
	ID     string `json:"id"`    // of the first of them
	// Email is that of the first of them, if it is a user: masked, empty for none.
	Email string `json:"email,omitempty"`
	Error string `json:"error"` // PostgreSQL's words without values, and its code
	// Since is when the first of them was parked, Attempts how often at most one was tried.
	Since    time.Time `json:"since"`
	Attempts int       `json:"attempts"`
	// RetryAt is when the first of them is tried again; the zero time when all are given up.
	RetryAt time.Time `json:"next,omitzero"`
	GivenUp int64     `json:"given_up"` // of Users
	Roll    string    `json:"roll"`
}

// ParkedFilter chooses who is parked.
type ParkedFilter struct {
	Targets []string
	// Users are ids of rows, or of users, whose memberships count, too; empty for all.
	Users []string
	// Groups is how many groups of a target are named, the largest first.
	Groups int
}

// groupsNamed is how many groups a report names.
const groupsNamed = 5

// ParkedGroups says who is parked for targets, and why: in the order of Targets, the largest groups first.
func (a *Audit) ParkedGroups(ctx context.Context, f ParkedFilter) ([]ParkedGroup, error) {
	rolls := map[string]string{}
	for _, t := range a.Targets.Configured() {
		rolls[t.Name] = event.RollNamed(t.Roll).Name
	}
	if len(f.Users) == 0 {
		f.Users = nil
	}
	groups := []ParkedGroup{}
	err := a.Targets.Pool.Scan(ctx, func(tx pgx.Tx) error {
		rows, _ := tx.Query(ctx, parkedGroupsSQL, pgx.QueryExecModeExec, f.Targets, f.Groups, f.Users)
		var g ParkedGroup
		var email string
		var retry *time.Time
		columns := []any{&g.Target, &g.Source, &g.Users, &g.ID, &email, &g.Error, &g.Since, &g.Attempts, &retry, &g.GivenUp}
		_, err := pgx.ForEachRow(rows, columns, func() error {
			if g.Email, g.RetryAt = event.Mask(email), (time.Time{}); retry != nil {
				g.RetryAt = retry.UTC()
			}
			g.Roll, g.Since = rolls[g.Target], g.Since.UTC()
			groups = append(groups, g)
			return nil
		})
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("look at who is parked: %w", sqlstate.Mask(err))
	}
	return groups, nil
}

// parkedGroupsSQL: $1 targets in order, $2 groups of each, $3 ids or null.
const parkedGroupsSQL = `
select g.target, g.source, g.users, g.id,
  coalesce((select u.email from rollcall.users u where u.source = g.source and u.id = g.id), ''), g.error, g.since, g.attempts, g.retry_at, g.given_up
from (
  select p.target, p.source, pg_catalog.format('%s (%s)', p.error, p.sqlstate) as error, pg_catalog.count(*) as users,
    pg_catalog.min(p.user_id) as id, pg_catalog.min(p.since) as since, pg_catalog.max(p.attempts) as attempts,
    pg_catalog.min(p.retry_at) filter (where not p.given_up) as retry_at,
    pg_catalog.count(*) filter (where p.given_up) as given_up,
    pg_catalog.row_number() over (partition by p.target
      order by pg_catalog.count(*) desc, pg_catalog.min(p.user_id)) as place
  from rollcall.parked p where p.target = any($1::text[])
    and ($3::text[] is null or p.user_id = any($3) or (p.source, p.user_id) in (
      select m.source, m.id from rollcall.memberships m where m.user_id = any($3)))
  group by p.target, p.source, p.error, p.sqlstate
) g
where g.place <= $2::int
order by pg_catalog.array_position($1::text[], g.target), g.place`
