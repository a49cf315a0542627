package audit

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"rollcall/internal/event"
	"rollcall/internal/postgres/catalog"
	"rollcall/internal/postgres/settle"
	"rollcall/internal/postgres/sqlstate"
	"rollcall/internal/target"
)

// User is a user of the roll and how every target that follows the source has them; or a row of another roll.
type User struct {
	Roll       *event.Roll
	Source, ID string
	Email      string    // masked, like j…@e….com; empty for none
	Version    time.Time // the provider's own updated_at
	Deleted    bool
	ErasedAt   *time.Time // nil if their personal data was not erased
	// Kept are the columns of the roll that keep their last known value, because what the
	// provider said last of them can't be used.
	Kept     []string
	Statuses []Status // in the order of the configuration
}

// Status is how one target has one user.
type Status struct {
	Target string `json:"target"`
	// State is empty for a user who is gone, with no row left, and while the target is out of
	// service.
	State State `json:"state,omitempty"`
	// Columns are those of set in which the row differs, with Different and Rewritten.
	Columns []string `json:"columns,omitempty"`
	// Triggers are those of the table, with Suppressed and Rewritten.
	Triggers []string `json:"triggers,omitempty"`
	// Problem is why the target is out of service, or why the user can't be compared.
	Problem string      `json:"problem,omitempty"`
	Parked  *ParkedUser `json:"parked,omitempty"` // nil when they aren't
	// Row is the row beside what it should be, with Options.Rows; empty where there is neither.
	Row []Column `json:"row,omitempty"`
}

// Column is a column of a row, as JSON. What personal columns have is masked, unless Options.Reveal.
type Column struct {
	Name string `json:"name"`
	// Is is null where there is no row.
	Is json.RawMessage `json:"is"`
	// Should is what set says, or on_delete of one who is deleted; nil where they say nothing.
	Should json.RawMessage `json:"should,omitempty"`
	// Differs: it is not as it should be, which masked values may hide.
	Differs bool `json:"differs,omitempty"`
}

// ParkedUser is why, and since when, a target does not follow a user.
type ParkedUser struct {
	Since    time.Time `json:"since"`
	Attempts int       `json:"attempts"`
	RetryAt  time.Time `json:"retry_at"`
	GivenUp  bool      `json:"given_up"`
	Error    string    `json:"error"` // PostgreSQL's words without values, and its code
}

// InStep reports whether the target is as the roll says.
func (s *Status) InStep() bool { return !outOfStep(s.State) && s.Problem == "" }

// ErrNotInRoll means that no roll has a row with this id, nor a user with this e-mail.
var ErrNotInRoll = errors.New("no user of the roll has this id or e-mail, and no organization or membership this id")

// Users finds users in the roll by their exact id, or by e-mail in any case, and holds each
// against every target; several sources may know one. It finds an organisation or a membership by its
// id. The error wraps ErrNotInRoll when there is none. Nothing is stored. Check must have compiled the targets.
func (a *Audit) Users(ctx context.Context, who string, o Options) ([]User, error) {
	users, err := a.InRoll(ctx, who)
	if err != nil {
		return nil, err
	}
	if len(users) == 0 {
		return nil, ErrNotInRoll
	}
	c := newCounting(a, o.Repair)
	c.options = o
	for i := range users {
		if err := c.user(ctx, &users[i]); err != nil {
			return nil, fmt.Errorf("check a user: %w", sqlstate.Mask(err))
		}
	}
	return users, nil
}

// InRoll finds users as Users does, none too, and holds them against no target.
func (a *Audit) InRoll(ctx context.Context, who string) ([]User, error) {
	var users []User
	err := a.Targets.Pool.Scan(ctx, func(tx pgx.Tx) error {
		rows, _ := tx.Query(ctx, inRoll, pgx.QueryExecModeExec, who)
		var u User
		var roll, email string
		var version int64
		_, err := pgx.ForEachRow(rows, []any{&roll, &u.Source, &u.ID, &email, &version, &u.Deleted, &u.ErasedAt, &u.Kept}, func() error {
			u.Roll, u.Email, u.Version = event.RollNamed(roll), event.Mask(email), time.UnixMicro(version).UTC()
			if u.ErasedAt != nil {
				*u.ErasedAt = u.ErasedAt.UTC()
			}
			users = append(users, u)
			return nil
		})
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("look for the user in the roll: %w", sqlstate.Mask(err))
	}
	return users, nil
}

// inRoll finds rows of any roll by an id ($1), and users by their e-mail. An id is looked for in each source of the
// roll: the key begins with the source. An e-mail has no index, so all users are read; a text without @ is none. Where
// it is ASCII, the cheap lower of the collation C does: it finds all but letters of other scripts that become ASCII.
var inRoll = func() string {
	var parts []string
	for _, r := range event.Rolls {
		email, erased := "''", "null::timestamptz"
		if r == &event.Users {
			email, erased = "coalesce(email, '')", "erased_at"
		}
		row := fmt.Sprintf("select %s as roll, source, id, %s as email, version, deleted_at is not null as deleted, %s as erased, kept from %s",
			target.Literal(r.Name), email, erased, r.Table)
		parts = append(parts, fmt.Sprintf("%s where id = $1 and source = any(array(%s))", row, fmt.Sprintf(sourcesOf, r.Table)))
		if r == &event.Users {
			parts = append(parts, row+` where pg_catalog.strpos($1, '@') > 0 and id <> $1
  and case when pg_catalog.octet_length($1) = pg_catalog.char_length($1) then pg_catalog.lower(email collate "C") = pg_catalog.lower($1 collate "C")
    else pg_catalog.lower(email) = pg_catalog.lower($1) end`)
		}
	}
	return strings.Join(parts, "\nunion all\n") + "\norder by 2, 3"
}()

// sourcesOf finds the sources of a roll (%s) by jumping from one to the next along its key.
const sourcesOf = `with recursive s as (
  (select source from %[1]s order by source limit 1) union all
  select (select n.source from %[1]s n where n.source > s.source order by n.source limit 1) from s where s.source is not null
) select source from s where source is not null`

// user holds a user against every target, after the repair if there is to be one.
func (c *counting) user(ctx context.Context, u *User) (err error) {
	u.Statuses, err = c.everywhere(ctx, settle.Key{Roll: u.Roll, Source: u.Source, ID: u.ID})
	return err
}

// everywhere holds a row of a roll against every target that follows it, in the order of the configuration.
func (c *counting) everywhere(ctx context.Context, key settle.Key) ([]Status, error) {
	statuses, err := c.statuses(ctx, key)
	// A child's row may have kept the parent's. Two targets may also undo each other's repair.
	for round := 1; err == nil && c.left > 0 && c.helped > 0 && round < settle.Passes; round++ {
		statuses, err = c.statuses(ctx, key)
	}
	if err != nil {
		return nil, err
	}
	parked, err := c.audit.ParkedFor(ctx, key.Source, key.ID)
	if err != nil {
		return nil, err
	}
	var list []Status
	for i := range c.audit.Targets.Configured() {
		if t := &c.audit.Targets.Configured()[i]; t.Follows(key.Source) && event.RollNamed(t.Roll) == key.Roll {
			s := statuses[t.Name]
			s.Parked = parked[t.Name]
			list = append(list, s)
		}
	}
	return list, nil
}

// statuses are those of a user in every target, by name.
func (c *counting) statuses(ctx context.Context, u settle.Key) (map[string]Status, error) {
	c.left, c.helped, c.overruled = 0, 0, map[overruledKey]*Overruled{}
	statuses := map[string]Status{}
	for _, t := range c.targets { // parents first, for the repair
		if !t.Follows(u.Source) || t.Roll != u.Roll {
			continue
		}
		s, err := c.status(ctx, t, u)
		if err == nil && c.options.Rows && s.Problem == "" {
			err = c.beside(ctx, t, u, &s)
		}
		if err != nil {
			return nil, err
		}
		if !s.InStep() {
			c.left++
		}
		statuses[t.Name] = s
	}
	return statuses, nil
}

// status is how a target has a user, after the repair if there is to be one.
func (c *counting) status(ctx context.Context, t *catalog.Compiled, u settle.Key) (Status, error) {
	s := Status{Target: t.Name, Problem: c.trouble[t.Name]}
	if s.Problem != "" {
		return s, nil
	}
	f, err := c.statesOf(ctx, t, []settle.Key{u})
	if not, ok := errors.AsType[*uncountable](err); ok {
		s.Problem = not.Error()
		return s, nil
	}
	if err != nil {
		return s, err
	}
	c.helped += f.repaired
	s.State = f.states[u]
	switch {
	case len(f.refused) > 0:
		s.Problem = f.refused[0].Words()
	case c.overruled[overruledKey{t.Name, s.State}] != nil:
		o := c.overruled[overruledKey{t.Name, s.State}]
		s.Columns, s.Triggers = o.Columns, o.Triggers
	case s.State == Different:
		s.Columns, err = c.audit.differing(ctx, t, u)
	}
	return s, err
}

func (a *Audit) differing(ctx context.Context, t *catalog.Compiled, u settle.Key) ([]string, error) {
	rows := map[settle.Key]rowState{}
	err := a.look(ctx, differences(t, []settle.Key{u}, rows))
	return rows[u].columns, err
}

// rowState is how a user's row differs, and a number for what it has.
type rowState struct {
	columns []string
	content int64
}

// differences reads the rows of users, those of set that differ, into a map.
func differences(t *catalog.Compiled, users []settle.Key, into map[settle.Key]rowState) settle.Step {
	u := settle.Key{Roll: t.Roll}
	var s rowState
	return about(users, t.Differing, []any{&u.Source, &u.ID, &s.columns, &s.content}, func() { into[u] = s })
}

// ParkedFor returns why targets, by their names, don't follow a user.
func (a *Audit) ParkedFor(ctx context.Context, source, id string) (map[string]*ParkedUser, error) {
	parked := map[string]*ParkedUser{}
	rows, _ := a.Targets.Pool.Query(ctx, `select target, since, attempts, retry_at, given_up,
		pg_catalog.format('%s (%s)', error, sqlstate)
		from rollcall.parked where source = $1 and user_id = $2`, source, id)
	var target string
	var p ParkedUser
	_, err := pgx.ForEachRow(rows, []any{&target, &p.Since, &p.Attempts, &p.RetryAt, &p.GivenUp, &p.Error}, func() error {
		parked[target] = new(p)
		return nil
	})
	return parked, err
}
