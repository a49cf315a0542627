package postgres

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"rollcall/sql"
)

// leaveTimeout bounds the end of a failed transaction.
const leaveTimeout = time.Second

// rollRefusal: the content of an event does not fit the roll itself.
type rollRefusal struct{ cause error }

func (r *rollRefusal) Error() string { return "the roll refuses a row: " + sayMasked(r.cause) }

// Unwrap keeps the cause, which blames a row: trying again would not help.
func (r *rollRefusal) Unwrap() error { return r.cause }

// rollBusy: somebody holds a row of the roll. That is only ever another transaction of
// Rollcall's, which is no target's fault and soon over.
type rollBusy struct{ cause error }

func (r *rollBusy) Error() string { return "the roll is busy: " + sayMasked(r.cause) }

// deferredRefusal: a deferred constraint holds for no order of the targets' pieces; who
// offends against it shows when it is checked at once.
type deferredRefusal struct{ cause error }

func (r *deferredRefusal) Error() string { return "a deferred constraint: " + sayMasked(r.cause) }

func (r *deferredRefusal) Unwrap() error { return r.cause }

// rollError says what an error of the statements that open a transaction means.
func rollError(err error) error {
	switch blameOf(err) {
	case blameRow:
		return &rollRefusal{err}
	case blameWait:
		return &rollBusy{err}
	default:
		return err
	}
}

// refusal is a user whom a target refuses.
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

// apart runs the same pieces as together, each target by itself in a savepoint, and parks
// those whom a target refuses; everybody else is settled, and all of it is one commit. The
// roll stands outside any savepoint: its rows must carry the transaction's own xid.
func (db *DB) apart(ctx context.Context, w *work, cause error, last bool) (*result, error) {
	conn, err := db.pool.Acquire(ctx)
	if err != nil {
		return nil, err
	}
	defer conn.Release()
	defer leave(conn.Conn())

	targets := w.among(*db.targets.Load())
	s := &separation{
		db: db, conn: conn.Conn(), work: w, targets: targets, last: last,
		askingAll: w.retry || blameOf(cause) == blameWait, immediate: errors.As(cause, new(*deferredRefusal)),
	}
	s.asking = s.askingAll
	if err := s.begin(ctx); err != nil {
		return nil, err
	}
	return s.finish(ctx, w.pieces(targets))
}

// resume goes on with a transaction whose pieces ran together until one of a target's failed:
// what was done before it stays done.
func (db *DB) resume(ctx context.Context, conn *pgx.Conn, s *separation, at *failure) (*result, error) {
	s.db, s.conn, s.askingAll = db, conn, s.work.retry
	s.asking = s.askingAll || blameOf(at.cause) == blameWait
	if _, err := conn.Exec(ctx, "rollback to savepoint piece"); err != nil {
		return nil, err
	}
	s.hold()
	pieces := s.work.pieces(s.targets)[at.piece:]
	pieces[0].failed = blameOf(at.cause) == blameRow
	return s.finish(ctx, pieces)
}

// separation is one transaction that keeps the targets apart.
type separation struct {
	db      *DB
	last    bool // there is no further try
	conn    *pgx.Conn
	work    *work
	targets []*compiled
	users   []userKey // written or locked by this transaction
	asking  bool      // ask who holds a lock before waiting for one, in this piece
	// askingAll: in every piece.
	askingAll bool
	// immediate: a deferred constraint has failed, so they all speak at once.
	immediate bool
	done      result
	refused   []refusal
}

// begin opens the transaction up to the first piece of a target.
func (s *separation) begin(ctx context.Context) error {
	steps := []statement{{sql: sql.Begin}, {sql: sql.Settings, args: s.db.timeouts()}}
	if s.work.retry {
		steps = append(steps, turn(s.work.only))
	}
	if err := pipeline(ctx, s.conn, steps, &s.done); err != nil {
		return err
	}
	if err := s.takeTable(ctx); err != nil {
		return err
	}
	if err := s.open(ctx); err != nil {
		return err
	}
	if s.immediate {
		return s.exec(ctx, constraintsNow)
	}
	return nil
}

// finish runs the pieces, parks whom they refuse, and commits.
func (s *separation) finish(ctx context.Context, pieces []piece) (*result, error) {
	for i, p := range pieces {
		if i > 0 {
			s.asking = s.askingAll // whoever holds a row of one target does not hurry the next
		}
		if err := s.settle(ctx, p); err != nil {
			return nil, err
		}
		if p.target.triggers {
			if err := s.restore(ctx); err != nil {
				return nil, err
			}
		}
	}
	// A deferred constraint would fail at commit, where it blames nobody.
	if err := s.exec(ctx, constraintsNow); err != nil {
		return nil, &deferredRefusal{err}
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

// restore gives the transaction its own settings back, which a trigger may have changed.
func (s *separation) restore(ctx context.Context) error {
	return pipeline(ctx, s.conn, []statement{{sql: resetRole}, {sql: sql.Settings, args: s.db.timeouts()}}, &s.done)
}

func (s *separation) exec(ctx context.Context, statement string) error {
	_, err := s.conn.Exec(ctx, statement)
	return err
}

// outOfService: the one target to settle can't be written, and its breaker is open.
type outOfService struct {
	target string
	cause  error
}

func (o *outOfService) Error() string {
	return fmt.Sprintf("target %s is out of service: %s", o.target, sayMasked(o.cause))
}

// takeTable takes the table of the one target, or takes the target out of service. Whoever
// tries again waits for nobody.
func (s *separation) takeTable(ctx context.Context) error {
	lock := s.work.table
	if lock == "" {
		return nil
	}
	if s.asking {
		lock += " nowait"
	}
	err := s.exec(ctx, lock)
	var answer *pgconn.PgError
	if errors.As(err, &answer) && blameOf(err) != blameNobody {
		s.db.trip(s.work.only, answer)
		return &outOfService{s.work.only.Name, err}
	}
	return err
}

// open runs what opens the transaction and finds out whom it holds.
func (s *separation) open(ctx context.Context) error {
	for _, o := range s.work.open {
		rows, err := s.conn.Query(ctx, o.sql, o.args...)
		if err == nil && o.read != nil {
			err = o.read(rows, &s.done)
		}
		rows.Close()
		if err = errors.Join(err, rows.Err()); err != nil {
			return rollError(err)
		}
	}
	s.hold()
	return nil
}

// hold notes whom the transaction has written or locked.
func (s *separation) hold() {
	s.users = s.work.users
	if s.work.batch != nil && !s.work.held {
		s.users = s.work.batch.writtenUsers(&s.done)
	}
	if s.done.seen != nil {
		s.users = slices.DeleteFunc(slices.Clone(s.users), func(u userKey) bool {
			found, read := s.done.seen[u.id]
			return !read || found.unknown
		})
	}
}

// piece is one statement of a target and the question who would have to wait in it.
type piece struct {
	target    *compiled
	statement string
	wanted    string // whom it is about
	locked    string // who of them is held by somebody else
	pause     int    // how many seconds a foreign key that refuses one is waited for
	failed    bool   // it has failed for all users together
	waits     bool   // a lock that somebody else holds refuses, too
	atOnce    bool   // deferred constraints refuse at once
}

// childrenPause: a removal that a foreign key refuses waits for the application, which still
// has rows that reference the user's.
const childrenPause = 300

// settle runs a piece for the users a target follows and notes whom it refuses. Some of
// them may only have been early (A takes what B is about to give up), so they are tried
// again as long as that helps somebody.
func (s *separation) settle(ctx context.Context, p piece) error {
	users := following(p.target, s.users)
	for pass := 1; len(users) > 0; pass++ {
		refused, err := s.try(ctx, p, users)
		if err == nil && !s.last {
			err = passing(refused)
		}
		if err != nil {
			return err
		}
		if len(refused) == 0 || len(refused) == len(users) || pass == settlePasses {
			if s.work.retry && p.statement == p.target.upsert {
				refused, err = s.exchange(ctx, p, refused)
			}
			s.refused = append(s.refused, refused...)
			return err
		}
		p.failed = false
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
var maybeEarly = []string{uniqueViolation, foreignKeyViolation, exclusionViolation}

// passing returns the first refusal that blames nobody, such as a deadlock, as the error it
// was: the whole batch runs again, and only the last try holds it against the target.
func passing(refused []refusal) error {
	for _, r := range refused {
		if blameOfState(r.state) == blameNobody || r.state == notSupported { // it may be a stale plan
			return &pgconn.PgError{Severity: "ERROR", Code: r.state, Message: r.message, Routine: stalePlan}
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
func (s *separation) try(ctx context.Context, p piece, users []userKey) ([]refusal, error) {
	refused, err := s.trySavepoint(ctx, p, users)
	if err != nil && blameOf(err) == blameWait && !s.asking {
		s.asking = true
		refused, err = s.trySavepoint(ctx, p, users)
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
	if err := s.exec(ctx, "release savepoint apart"); err != nil || !s.asking {
		return refused, err
	}
	_, err = s.conn.Exec(ctx, sql.Settings, s.db.timeouts()...) // those of asking are for the piece only
	return refused, err
}

func (s *separation) run(ctx context.Context, p piece, users []userKey) ([]refusal, error) {
	var refused []refusal
	if s.asking {
		var err error
		if refused, err = s.ask(ctx, p, users); err != nil {
			return nil, err
		}
		users = without(users, refused)
	}
	// A table that is gone or closed to us refuses nobody in particular.
	if _, err := s.conn.Exec(ctx, p.statement, []string{}, []string{}, true); err != nil {
		return nil, err
	}
	p.waits, p.atOnce = s.asking, s.immediate
	more, err := settleApart(ctx, s.conn, p, users)
	return append(refused, more...), err
}

func refuseAll(t *compiled, users []userKey, why *pgconn.PgError) []refusal {
	refused := make([]refusal, len(users))
	for i, u := range users {
		refused[i] = refusal{target: t.Name, user: u, state: why.Code, message: say(why), outage: true}
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
