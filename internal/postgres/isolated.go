package postgres

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"rollcall/internal/postgres/sqlstate"
	"rollcall/sql"
)

// leaveTimeout bounds the end of a failed transaction.
const leaveTimeout = time.Second

// refusal is a user that a target refuses.
type refusal struct {
	target         string
	user           userKey
	state, message string
	pause          int // seconds until the next try, at least
	// outage: the target as a whole refuses, and the log says so once.
	outage bool
	// place is the function in which it failed, against the constraint; both may be empty.
	place, against string
}

// words is what PostgreSQL said, without values.
func (r *refusal) words() string { return fmt.Sprintf("%s (%s)", r.message, r.state) }

// mode says how a target's pieces are run one by one; the modes add up.
type mode int

const (
	// asking: who holds a lock is asked before one is waited for, and those users are left out.
	asking mode = 1 << iota
	// atOnce: a deferred constraint has failed, so all are checked at once.
	atOnce
	// failedTogether: the piece has failed for all users together.
	failedTogether
)

func (m mode) has(what mode) bool { return m&what != 0 }

// isolated runs the same pieces as pipelined, each target by itself in a savepoint, and parks the users
// that a target refuses; all others are settled, and all of it is one commit. The roll stands outside any
// savepoint: its rows must carry the transaction's own xid.
func (db *DB) isolated(ctx context.Context, w *work, cause error, last bool) (done *result, err error) {
	err = db.within(ctx, func(conn *pgx.Conn) error {
		s := &separation{db: db, conn: conn, work: w, targets: w.among(*db.targets.Load()), last: last}
		if w.purpose == retryParked || sqlstate.ClassOf(cause) == sqlstate.Lock {
			s.mode |= asking
		}
		if failedFor(cause, constraintRefuses) {
			s.mode |= atOnce
		}
		if err := s.begin(ctx); err != nil {
			return err
		}
		done, err = s.finish(ctx, w.pieces(s.targets))
		return err
	})
	return done, err
}

// separation is one transaction that keeps the targets apart.
type separation struct {
	db      *DB
	last    bool // there is no further try
	conn    *pgx.Conn
	work    *work
	targets []*compiled
	users   []userKey // written or locked by this transaction
	mode    mode      // of every piece; one may have more
	done    result
	refused []refusal
}

// begin opens the transaction up to the first piece of a target.
func (s *separation) begin(ctx context.Context) error {
	if err := run(ctx, s.conn, s.db.opening(s.work, s.db.pool.Timeouts()), &s.done); err != nil {
		return err
	}
	steps := append(s.work.table(s.mode), s.work.open...)
	if s.mode.has(atOnce) {
		steps = append(steps, constraints())
	}
	if err := run(ctx, s.conn, steps, &s.done); err != nil {
		return err
	}
	s.hold()
	return nil
}

// finish runs the pieces, parks the users that they refuse, and commits.
func (s *separation) finish(ctx context.Context, pieces []piece) (*result, error) {
	for _, p := range pieces {
		if err := s.settle(ctx, p); err != nil {
			return nil, err
		}
		if p.target.triggers {
			if err := run(ctx, s.conn, restore(s.db.pool.Timeouts()), &s.done); err != nil {
				return nil, err
			}
		}
	}
	// At the commit a deferred constraint would not show whose row it refuses.
	check := constraints()
	check.kind = checkingAlone
	if err := run(ctx, s.conn, []step{check}, &s.done); err != nil {
		return nil, err
	}
	if err := s.explain(ctx); err != nil {
		return nil, err
	}
	if err := s.park(ctx, append(s.refused, s.outages()...)); err != nil {
		return nil, err
	}
	for _, r := range s.refused {
		if r.outage {
			continue
		}
		s.db.log.Warn("parked", "target", r.target, "source", r.user.source, "user", r.user.id, "sqlstate", r.state, "error", r.message)
	}
	return &s.done, nil
}

func (s *separation) exec(ctx context.Context, statement string) error {
	_, err := s.conn.Exec(ctx, statement)
	return err
}

// hold notes the users that the transaction has written or locked.
func (s *separation) hold() {
	s.users = s.work.users
	if !s.work.locked() {
		s.users = s.work.batch.writtenUsers(&s.done)
	}
	if s.done.seen != nil {
		s.users = slices.DeleteFunc(slices.Clone(s.users), func(u userKey) bool {
			found, read := s.done.seen[u.id]
			return !read || found.unknown
		})
	}
}

// piece is one statement of a target, and the question who would have to wait in it.
type piece struct {
	target    *compiled
	statement string
	wanted    string // whose rows it is about
	locked    string // which of them another session holds
	pause     int    // how many seconds a foreign key that refuses one is waited for
	swaps     bool   // users that are refused may stand in each other's way
	mode      mode   // beside the transaction's
}

// childrenPause: a removal that a foreign key refuses waits for the application, which still
// has rows that reference the user's.
const childrenPause = 300

// settle runs a piece for the users a target follows and notes those that it refuses. Some of
// them may only have been early (A takes what B is about to give up), so they are tried
// again as long as that helps some of them.
func (s *separation) settle(ctx context.Context, p piece) error {
	p.mode |= s.mode
	users := following(p.target, s.users)
	for pass := 1; len(users) > 0; pass++ {
		refused, err := s.try(ctx, &p, users)
		if err == nil && !s.last {
			err = passing(refused)
		}
		if err != nil {
			return err
		}
		if len(refused) == 0 || len(refused) == len(users) || pass == settlePasses {
			if s.work.purpose == retryParked && p.swaps {
				refused, err = s.swap(ctx, p, refused)
			}
			s.refused = append(s.refused, refused...)
			return err
		}
		p.mode &^= failedTogether
		users = users[:0:0]
		for _, r := range refused {
			if slices.Contains(maybeEarly, r.state) {
				users = append(users, r.user)
			} else {
				s.refused = append(s.refused, r)
			}
		}
		slices.SortFunc(users, compareKeys)
	}
	return nil
}

// maybeEarly are the states of what another user of the batch may have mended by now.
var maybeEarly = []string{sqlstate.UniqueViolation, sqlstate.ForeignKeyViolation, sqlstate.ExclusionViolation}

// passing returns the first refusal for a passing reason, such as a deadlock, as the error it
// was: the whole batch runs again, and only the last try holds it against the target.
func passing(refused []refusal) error {
	for _, r := range refused {
		if sqlstate.ClassOfState(r.state) == sqlstate.Retry || r.state == sqlstate.NotSupported { // it may be a stale plan
			return &pgconn.PgError{Severity: "ERROR", Code: r.state, Message: r.message, Routine: sqlstate.StalePlan}
		}
	}
	return nil
}

// settlePasses bounds how often the refused are tried again: a chain of e-mails as long as
// the batch would take cubic time.
const settlePasses = 8

// try runs a piece in a savepoint. Whatever PostgreSQL answers there while the connection
// lives is the target's affair, and refuses all users that are left; the roll and the other
// targets never notice.
func (s *separation) try(ctx context.Context, p *piece, users []userKey) ([]refusal, error) {
	refused, err := s.trySavepoint(ctx, *p, users)
	if err != nil && sqlstate.ClassOf(err) == sqlstate.Lock && !p.mode.has(asking) {
		p.mode |= asking // in this piece: a wait in one target does not shorten that in the next
		refused, err = s.trySavepoint(ctx, *p, users)
	}
	var answer *pgconn.PgError
	if errors.As(err, &answer) && !s.conn.IsClosed() {
		s.db.trip(p.target, answer)
		return refuseAll(p.target, users, answer), nil
	}
	return refused, err
}

func (s *separation) trySavepoint(ctx context.Context, p piece, users []userKey) ([]refusal, error) {
	if err := s.exec(ctx, "savepoint apart"); err != nil {
		return nil, err
	}
	refused, err := s.run(ctx, p, users)
	if err != nil {
		return nil, errors.Join(err, s.exec(ctx, "rollback to savepoint apart"))
	}
	if err := s.exec(ctx, "release savepoint apart"); err != nil || !p.mode.has(asking) {
		return refused, err
	}
	_, err = s.conn.Exec(ctx, sql.Settings, s.db.pool.Timeouts()...) // those of asking are for the piece only
	return refused, err
}

func (s *separation) run(ctx context.Context, p piece, users []userKey) ([]refusal, error) {
	var refused []refusal
	if p.mode.has(asking) {
		var err error
		if refused, err = s.ask(ctx, p, users); err != nil {
			return nil, err
		}
		users = without(users, refused)
	}
	// A table that is gone, or closed to the role, refuses all users alike: this shows it at once.
	if _, err := s.conn.Exec(ctx, p.statement, []string{}, []string{}, true); err != nil {
		return nil, err
	}
	more, err := settleApart(ctx, s.conn, p, users)
	return append(refused, more...), err
}

func refuseAll(t *compiled, users []userKey, why *pgconn.PgError) []refusal {
	refused := make([]refusal, len(users))
	for i, u := range users {
		refused[i] = refusal{target: t.Name, user: u, state: why.Code, message: sqlstate.Message(why), outage: true}
	}
	return refused
}

// outages are the users of the targets that are out of service; the log has said so once.
func (s *separation) outages() []refusal {
	var refused []refusal
	for _, t := range s.targets {
		if t.outage == nil {
			continue
		}
		for _, u := range following(t, s.users) {
			refused = append(refused, refusal{target: t.Name, user: u, state: t.outage.state, message: t.outage.message, outage: true})
		}
	}
	return refused
}
