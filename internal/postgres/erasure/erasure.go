// Package erasure erases users. What is left of one is a tombstone with a moment, erased_at; whatever the provider says
// of them later is recorded without its body and changes nothing, which is up to package roll.
//
//	e := erasure.Eraser{Targets: targets, Outbox: box}
//	done, err := e.Erase(ctx, erasure.Request{Source: "clerk", ID: id, Who: "cli:ada"})
//
// It hides where something is kept of a user, and the order of locks in which all of it is taken at once.
package erasure

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"rollcall/internal/event"
	"rollcall/internal/postgres/auditlog"
	"rollcall/internal/postgres/catalog"
	"rollcall/internal/postgres/connection"
	"rollcall/internal/postgres/outbox"
	"rollcall/internal/postgres/roll"
	"rollcall/internal/postgres/settle"
	"rollcall/internal/target"
)

// The statements; the files describe their parameters.
var (
	//go:embed bodies.sql
	bodiesSQL string
	//go:embed find.sql
	findSQL string
	//go:embed look.sql
	lookSQL string
	//go:embed memberships.sql
	membershipsSQL string // a format of what is emptied
	//go:embed named.sql
	namedSQL string
	//go:embed parked.sql
	parkedSQL string
	//go:embed roll.sql
	rollSQL string // a format of what is emptied
	//go:embed state.sql
	stateSQL string
	//go:embed find_transitions.sql
	findTransitionsSQL string
	//go:embed transitions.sql
	transitionsSQL string
)

// Eraser erases users of one database.
type Eraser struct {
	Targets *settle.Targets
	Outbox  *outbox.Outbox
}

// Request says who is to be erased, and who wants it.
type Request struct {
	Source, ID string
	// Living has one erased who is not deleted.
	Living bool
	// Who is noted in rollcall.audit_log.
	Who string
}

// Result is what was erased of a user, and what is left in the targets.
type Result struct {
	Source    string    `json:"source"`
	ID        string    `json:"id"`
	DeletedAt time.Time `json:"deleted_at"`
	ErasedAt  time.Time `json:"erased_at"`
	// Before: the user had been erased before. Nothing but what came since is counted then.
	Before bool `json:"erased_before"`
	// Bodies are those of events, Parked what targets said when they refused the user, and Captured
	// the changes that waited to be applied.
	Bodies      int64 `json:"bodies"`
	Memberships int   `json:"memberships"`
	Parked      int64 `json:"parked"`
	Captured    int64 `json:"captured"`
	// Remaining are rows of targets that are still there.
	Remaining []Remaining `json:"remaining"`
}

// Remaining is a row of a target that is still there, or a target that could not be looked at.
type Remaining struct {
	Target string `json:"target"`
	Table  string `json:"table"`
	// Key are the columns of the row's key and their values; none where the target could not be looked at.
	Key map[string]string `json:"key,omitempty"`
	// Why is the on_delete of the target, or, with Failed, why it has not been done.
	Why    string `json:"why"`
	Failed bool   `json:"failed"`
}

var (
	// ErrLiving means that the user is not deleted, and Request.Living not set.
	ErrLiving error = livingError{}
	// ErrUnknownUser means that nothing is known of the user: there is nothing to erase.
	ErrUnknownUser = errors.New("nothing is known of this user")
)

// livingError ends the transaction that finds it.
type livingError struct{}

func (livingError) Error() string { return "the user is living" }

func (livingError) Unwrap() error { return settle.ErrStop }

// Erase forgets all that is kept of a user but the ids and the moments of the deletion, in one transaction: what the
// roll has, the bodies of events, what targets said of them, what waits in the outboxes, and the memberships. Targets
// follow as for a deletion. A user who is living is refused with ErrLiving, unless that is wanted.
func (e Eraser) Erase(ctx context.Context, r Request) (Result, error) {
	x := &erasing{Request: r, Eraser: e}
	err := x.find(ctx)
	if err == nil {
		_, err = e.Targets.Commit(ctx, x.work())
	}
	if err != nil {
		return Result{}, fmt.Errorf("erase user %s of %s: %w", r.ID, r.Source, err)
	}
	e.forgetSamples(ctx)
	if x.done.Remaining, err = x.remaining(ctx); err != nil {
		return x.done, fmt.Errorf("user %s of %s is erased; look for rows of targets that are left: %w", r.ID, r.Source, err)
	}
	return x.done, nil
}

// Work is the transaction of an erasure, which Erase commits.
func (e Eraser) Work(ctx context.Context, r Request) (*settle.Work, error) {
	x := &erasing{Request: r, Eraser: e}
	err := x.find(ctx)
	return x.work(), err
}

// erasing is an erasure under way.
type erasing struct {
	Request
	Eraser

	events      []string // the ids of those that are about no user and name this one
	transitions []int64  // the ids of those that are noted already
	later       int64    // is below the ids of those that are noted later
	outbox      []string // statements that delete what waits there
	done        Result
	memberships []settle.Key
}

// find looks for what there is of the user, without any lock, for that may take its time.
func (x *erasing) find(ctx context.Context) error {
	var known, living bool
	var addresses []string
	look := func(tx pgx.Tx, id string) error {
		return tx.QueryRow(ctx, lookSQL, x.Source, id).Scan(&known, &living, &addresses)
	}
	err := x.Targets.Pool.Scan(ctx, func(tx pgx.Tx) error {
		err := look(tx, x.ID)
		if id, no := uuid.Parse(x.ID); err == nil && !known && no == nil {
			x.ID = id.String() // as PostgreSQL writes it
			err = look(tx, x.ID)
		}
		if err != nil || living && !x.Living {
			return err
		}
		rows, _ := tx.Query(ctx, findSQL, x.Source, x.ID, addresses)
		if x.events, err = pgx.CollectRows(rows, pgx.RowTo[string]); err != nil {
			return err
		}
		return tx.QueryRow(ctx, findTransitionsSQL, x.Source, x.ID).Scan(&x.transitions, &x.later)
	})
	switch {
	case err != nil:
		return x.Targets.Pool.Explain(err)
	case living && !x.Living:
		return ErrLiving
	case !known && len(x.events) == 0:
		return ErrUnknownUser
	}
	x.outbox, err = x.Outbox.OfUser(ctx)
	return err
}

// work is the transaction. Events come before the roll, as everywhere; those that were committed while it waited for
// the lock come behind it.
func (x *erasing) work() *settle.Work {
	user := settle.Key{Roll: &event.Users, Source: x.Source, ID: x.ID}
	x.done = Result{Source: x.Source, ID: x.ID}
	var named, about, late int64 // bodies
	ofUser, written := []any{x.Source, x.ID}, []any{x.Source, x.ID, x.Targets.Fingerprint()}
	open := []settle.Step{
		x.step(namedSQL, count(&named), x.Source, x.events),
		x.step(bodiesSQL, count(&about), ofUser...),
		roll.LockRows([]settle.Key{user}),
		x.step(stateSQL, x.readState, ofUser...),
		x.step(bodiesSQL, count(&late), ofUser...),
		x.step(fmt.Sprintf(rollSQL, roll.Emptied(&event.Users)), x.readMoments, written...),
		x.step(parkedSQL, count(&x.done.Parked), ofUser...),
		x.step("delete from rollcall.endings where roll = 'users' and source = $1 and id = $2", nil, ofUser...),
		x.step(fmt.Sprintf(membershipsSQL, roll.Emptied(&event.Memberships)), x.readMemberships, written...),
		x.step(transitionsSQL, nil, x.Source, x.ID, x.transitions, x.later),
	}
	waiting := make([]int64, len(x.outbox))
	for i, statement := range x.outbox {
		open = append(open, x.step(counted(statement), count(&waiting[i]), ofUser...))
	}
	open = append(open, settle.Step{Kind: settle.Writing, SQL: auditlog.InsertSQL, Args: auditlog.Entry{
		Who: x.Who, Action: "erase", Object: "users/" + x.Source + "/" + x.ID, Result: "erased",
	}.Args()})
	return &settle.Work{
		Purpose: settle.SettleUsers, Users: []settle.Key{user}, Open: open,
		Found: func() []settle.Key {
			x.done.Bodies, x.done.Captured = named+about+late, 0
			for _, n := range waiting {
				x.done.Captured += n
			}
			return x.memberships
		},
	}
}

func (x *erasing) step(statement string, read func(pgx.Rows) error, args ...any) settle.Step {
	return settle.Step{Kind: settle.Writing, SQL: statement, Args: args, Read: read}
}

// counted makes a statement return how many rows it has deleted.
func counted(statement string) string {
	return "with deleted as (\n" + statement + "\nreturning 1)\nselect pg_catalog.count(*) from deleted"
}

// count reads a number.
func count(into *int64) func(pgx.Rows) error {
	return func(rows pgx.Rows) (err error) {
		*into, err = pgx.CollectExactlyOneRow(rows, pgx.RowTo[int64])
		return err
	}
}

// readState ends the transaction if the user may not be erased: they may have come back since the look.
func (x *erasing) readState(rows pgx.Rows) error {
	living, err := pgx.CollectExactlyOneRow(rows, pgx.RowTo[bool])
	if err == nil && living && !x.Living {
		return ErrLiving
	}
	return err
}

func (x *erasing) readMoments(rows pgx.Rows) error {
	_, err := pgx.CollectExactlyOneRow(rows, func(row pgx.CollectableRow) (struct{}, error) {
		err := row.Scan(&x.done.DeletedAt, &x.done.ErasedAt, &x.done.Before)
		x.done.DeletedAt, x.done.ErasedAt = x.done.DeletedAt.UTC(), x.done.ErasedAt.UTC()
		return struct{}{}, err
	})
	return err
}

func (x *erasing) readMemberships(rows pgx.Rows) (err error) {
	x.memberships, err = settle.CollectKeys(rows, &event.Memberships)
	x.done.Memberships = len(x.memberships)
	return err
}

// remaining looks for the rows that are still there.
func (x *erasing) remaining(ctx context.Context) ([]Remaining, error) {
	list := []Remaining{}
	keys := append(slices.Clone(x.memberships), settle.Key{Roll: &event.Users, Source: x.Source, ID: x.ID})
	for _, t := range x.Targets.All() {
		mine := slices.DeleteFunc(slices.Clone(keys), func(k settle.Key) bool { return k.Roll != t.Roll })
		if !t.Follows(x.Source) || len(mine) == 0 {
			continue
		}
		if t.Outage != nil {
			why := "the target is out of service; its row is not known: " + t.Outage.Message
			list = append(list, Remaining{Target: t.Name, Table: t.Table, Failed: true, Why: why})
			continue
		}
		rows, err := x.rowsOf(ctx, t, mine)
		if err != nil {
			return list, err
		}
		list = append(list, rows...)
	}
	slices.SortStableFunc(list, func(a, b Remaining) int { return strings.Compare(a.Target, b.Target) })
	return list, nil
}

// rowsOf are those of one target.
func (x *erasing) rowsOf(ctx context.Context, t *catalog.Compiled, of []settle.Key) ([]Remaining, error) {
	why, failed := "the row could not be deleted; rollcall check --user "+x.ID+" says why", true
	switch t.OnDelete.Action {
	case target.DeleteKeep:
		why, failed = "on_delete is keep", false
	case target.DeleteSet:
		why, failed = "on_delete sets columns and leaves the others", false
	default:
	}
	sources, ids := settle.KeyArrays(of)
	rows, _ := x.Targets.Pool.Query(ctx, t.Compiler.Remaining(), sources, ids, true)
	return pgx.CollectRows(rows, func(row pgx.CollectableRow) (Remaining, error) {
		left := Remaining{Target: t.Name, Table: t.Table, Key: map[string]string{}, Why: why, Failed: failed}
		var source, id string
		var values []string
		err := row.Scan(&source, &id, &values)
		for i, v := range values {
			left.Key[t.Key[i]] = v
		}
		return left, err
	})
}

// forgetSamples has the planner forget what it has seen of the columns: its statistics hold some values of each, the
// last ones until the next analysis. Only the owner of the tables may.
func (e Eraser) forgetSamples(ctx context.Context) {
	err := e.Targets.Pool.Unbounded(ctx, "analyze rollcall.users, rollcall.memberships, rollcall.events, rollcall.parked")
	if err != nil {
		e.Targets.Log.Warn("the planner's statistics may hold values of a user who was erased until Rollcall's tables are analyzed",
			"error", connection.Wrap(err, "analyze"))
	}
}
