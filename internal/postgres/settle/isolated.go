package settle

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"rollcall/internal/postgres/catalog"
	"rollcall/internal/postgres/connection"
	"rollcall/internal/postgres/sqlstate"
	"rollcall/internal/target"
)

// Refusal is a user that a target refuses.
type Refusal struct {
	target         string
	User           Key
	state, message string
	pause          int // seconds until the next try, at least
	// outage: the target as a whole refuses, and the log says so once.
	outage bool
	// place is the function in which it failed, against the constraint; both may be empty.
	place, against string
	verdict        target.Verdict // "" unless for one
}

// Words is what PostgreSQL said, without values.
func (r *Refusal) Words() string { return fmt.Sprintf("%s (%s)", r.message, r.state) }

// Target is the name of the target.
func (r *Refusal) Target() string { return r.target }

// Mode says how a target's pieces are run one by one; the modes add up.
type Mode int

const (
	// Asking means that who holds a lock is asked before one is waited for; those users are left out.
	Asking Mode = 1 << iota
	// atOnce: a deferred constraint has failed, so all are checked at once.
	atOnce
	// failedPipelined: the piece has failed for all users together.
	failedPipelined
)

func (m Mode) has(what Mode) bool { return m&what != 0 }

// isolated runs the same pieces as pipelined, each target by itself in a savepoint, and parks the users
// that a target refuses; all others are settled, and all of it is one commit. The roll stands outside any
// savepoint: its rows must carry the transaction's own xid.
func (ts *Targets) isolated(ctx context.Context, w *Work, cause error, last bool) (parked map[Key]bool, err error) {
	err = ts.Within(ctx, func(conn *pgx.Conn) error {
		s := &separation{all: ts, conn: conn, work: w, targets: w.among(ts.All()), mode: w.mode(), last: last}
		if sqlstate.ClassOf(cause) == sqlstate.Lock {
			s.mode |= Asking
		}
		if FailedFor(cause, constraintRefuses) {
			s.mode |= atOnce
		}
		if err := s.begin(ctx); err != nil {
			return err
		}
		parked, err = s.finish(ctx, s.work.Pieces(s.targets))
		return err
	})
	return parked, err
}

// separation is one transaction that keeps the targets apart.
type separation struct {
	all     *Targets
	last    bool // there is no further try
	conn    *pgx.Conn
	work    *Work
	targets []*catalog.Compiled
	users   []Key // written or locked by this transaction
	mode    Mode  // of every piece; one may have more
	refused []Refusal
	// adopting are the users whose verdict is target.Adopt.
	adopting []entry
}

// begin opens the transaction up to the first piece of a target.
func (s *separation) begin(ctx context.Context) error {
	if err := Run(ctx, s.conn, s.all.opening(s.work, s.all.Pool.Timeouts())); err != nil {
		return err
	}
	steps := append(s.work.Table(s.mode), s.work.Open...)
	if s.mode.has(atOnce) {
		steps = append(steps, constraints())
	}
	if err := Run(ctx, s.conn, steps); err != nil {
		return err
	}
	if s.work.Found != nil {
		s.work = s.work.withFound()
	}
	s.hold()
	return nil
}

// pieces runs pieces one by one.
func (s *separation) pieces(ctx context.Context, list []Piece) error {
	for _, p := range list {
		err := s.settle(ctx, p, s.unrefused(p.Target, following(p.Target, s.users)))
		if err == nil && p.swaps && p.Target.Adoption != "" {
			err = s.adoptLate(ctx, p)
		}
		if err == nil && p.Target.Triggers {
			err = Run(ctx, s.conn, Restore(s.all.Pool.Timeouts()))
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// finish runs the pieces, parks the users that they refuse, and commits.
func (s *separation) finish(ctx context.Context, pieces []Piece) (parked map[Key]bool, err error) {
	if err := s.pieces(ctx, pieces); err != nil {
		return nil, err
	}
	// At the commit a deferred constraint would not show whose row it refuses.
	check := constraints()
	check.Kind = checkingAlone
	if err := Run(ctx, s.conn, []Step{check}); err != nil {
		return nil, err
	}
	if err := s.explain(ctx); err != nil {
		return nil, err
	}
	if parked, err = s.park(ctx, append(s.refused, s.outages()...)); err != nil {
		return nil, err
	}
	for _, r := range s.refused {
		if r.outage {
			continue
		}
		s.all.Log.Warn("parked", "target", r.target, "source", r.User.Source, "user", r.User.ID, "sqlstate", r.state, "error", r.message)
	}
	return parked, nil
}

func (s *separation) exec(ctx context.Context, statement string) error {
	_, err := s.conn.Exec(ctx, statement)
	return err
}

// hold notes the users that the transaction has written or locked.
func (s *separation) hold() {
	s.users = s.work.Users
	if s.work.Held != nil {
		s.users = s.work.Held()
	}
}

// Piece is one statement of a target, and the question who would have to wait in it.
type Piece struct {
	Target    *catalog.Compiled
	Statement string
	wanted    string // whose rows it is about
	locked    string // which of them another session holds
	pause     int    // how many seconds a foreign key that refuses one is waited for
	swaps     bool   // users that are refused may stand in each other's way
	verdicts  string // of an adoption
	mode      Mode   // beside the transaction's
}

// childrenPause: a removal that a foreign key refuses waits for the application, which still
// has rows that reference the user's.
const childrenPause = 300

// settle runs a piece for users that a target follows and notes those that it refuses. Some of
// them may only have been early (A takes what B is about to give up), so they are tried
// again as long as that helps some of them.
func (s *separation) settle(ctx context.Context, p Piece, users []Key) error {
	p.mode |= s.mode
	for pass := 1; len(users) > 0; pass++ {
		refused, err := s.try(ctx, &p, users)
		if err == nil && !s.last {
			err = passing(refused)
		}
		if err != nil {
			return err
		}
		if len(refused) == 0 || len(refused) == len(users) || pass == Passes {
			if s.work.Purpose == retryParked && p.swaps {
				refused, err = s.swap(ctx, p, refused)
			}
			s.refused = append(s.refused, refused...)
			return err
		}
		p.mode &^= failedPipelined
		users = users[:0:0]
		for _, r := range refused {
			if slices.Contains(maybeEarly, r.state) {
				users = append(users, r.User)
			} else {
				s.refused = append(s.refused, r)
			}
		}
		slices.SortFunc(users, CompareKeys)
	}
	return nil
}

// maybeEarly are the states of what another user of the batch may have mended by now.
var maybeEarly = []string{sqlstate.UniqueViolation, sqlstate.ForeignKeyViolation, sqlstate.ExclusionViolation}

// passing returns the first refusal for a passing reason, such as a deadlock, as the error it
// was: the whole batch runs again, and only the last try holds it against the target.
func passing(refused []Refusal) error {
	for _, r := range refused {
		if sqlstate.ClassOfState(r.state) == sqlstate.Retry || r.state == sqlstate.NotSupported { // it may be a stale plan
			return &pgconn.PgError{Severity: "ERROR", Code: r.state, Message: r.message, Routine: sqlstate.StalePlan}
		}
	}
	return nil
}

// Passes bounds how often the refused are tried again: a chain of e-mails as long as
// the batch would take cubic time.
const Passes = 8

// try runs a piece in a savepoint. Whatever PostgreSQL answers there while the connection
// lives is the target's affair, and refuses all users that are left; the roll and the other
// targets never notice.
func (s *separation) try(ctx context.Context, p *Piece, users []Key) ([]Refusal, error) {
	refused, err := s.trySavepoint(ctx, *p, users)
	if err != nil && sqlstate.ClassOf(err) == sqlstate.Lock && !p.mode.has(Asking) {
		p.mode |= Asking // in this piece: a wait in one target does not shorten that in the next
		refused, err = s.trySavepoint(ctx, *p, users)
	}
	if answer, ok := errors.AsType[*pgconn.PgError](err); ok && !s.conn.IsClosed() {
		s.all.trip(p.Target, answer)
		return refuseAll(p.Target, users, answer), nil
	}
	return refused, err
}

func (s *separation) trySavepoint(ctx context.Context, p Piece, users []Key) ([]Refusal, error) {
	if err := s.exec(ctx, "savepoint isolated"); err != nil {
		return nil, err
	}
	refused, err := s.run(ctx, p, users)
	if err != nil {
		return nil, errors.Join(err, s.exec(ctx, "rollback to savepoint isolated"))
	}
	if err := s.exec(ctx, "release savepoint isolated"); err != nil || !p.mode.has(Asking) {
		return refused, err
	}
	_, err = s.conn.Exec(ctx, connection.SettingsSQL, s.all.Pool.Timeouts()...) // those of asking are for the piece only
	return refused, err
}

func (s *separation) run(ctx context.Context, p Piece, users []Key) ([]Refusal, error) {
	var refused []Refusal
	if p.mode.has(Asking) {
		var err error
		if refused, err = s.ask(ctx, p, users); err != nil {
			return nil, err
		}
		users = Without(users, refused)
	}
	if p.verdicts != "" {
		more, err := s.judge(ctx, p, users)
		if err != nil {
			return nil, err
		}
		refused, users = append(refused, more...), Without(users, more)
	}
	// A table that is gone, or closed to the role, refuses all users alike: this shows it at once.
	if _, err := s.conn.Exec(ctx, p.Statement, []string{}, []string{}, true); err != nil {
		return nil, err
	}
	more, err := RunIsolated(ctx, s.conn, p, users)
	if p.verdicts != "" {
		more = changedRows(p.Target, more)
	}
	return append(refused, more...), err
}

func refuseAll(t *catalog.Compiled, users []Key, why *pgconn.PgError) []Refusal {
	refused := make([]Refusal, len(users))
	for i, u := range users {
		refused[i] = Refusal{target: t.Name, User: u, state: why.Code, message: sqlstate.Message(why), outage: true}
	}
	return refused
}

// outages are the users of the targets that are out of service; the log has said so once.
func (s *separation) outages() []Refusal {
	var refused []Refusal
	for _, t := range s.targets {
		if t.Outage == nil {
			continue
		}
		for _, u := range following(t, s.users) {
			refused = append(refused, Refusal{target: t.Name, User: u, state: t.Outage.State, message: t.Outage.Message, outage: true})
		}
	}
	return refused
}

// park notes the refused users, deletes the notes about all others, and commits.
func (s *separation) park(ctx context.Context, refused []Refusal) (parked map[Key]bool, err error) {
	parked = map[Key]bool{}
	byEntry := map[entry]Refusal{}
	for _, r := range refused {
		byEntry[entry{r.target, r.User}] = r
		parked[r.User] = true
	}
	var steps []Step
	for _, t := range s.targets {
		settled := slices.DeleteFunc(slices.Clone(s.users), func(u Key) bool {
			_, ok := byEntry[entry{t.Name, u}]
			return ok || u.Roll != t.Roll
		})
		sources, ids := KeyArrays(settled)
		steps = append(steps, Step{Kind: Parking, SQL: On(t.Roll, clearSQL), Args: []any{sources, ids, true, []string{t.Name}}})
	}
	var target, source, id, state, message []string
	var pause []int
	for _, r := range byEntry {
		if r.outage && s.work.Purpose == retryParked {
			continue // the user is parked already, and was not tried
		}
		target, source, id = append(target, r.target), append(source, r.User.Source), append(id, r.User.ID)
		state, message, pause = append(state, r.state), append(message, r.message), append(pause, r.pause)
	}
	steps = append(steps, Step{Kind: Parking, SQL: parkSQL, Args: []any{
		target, source, id, state, message, pause, s.work.counted(), s.all.Attempts.Load(),
	}})
	if s.work.MarkParked != nil {
		steps = append(steps, s.work.MarkParked(parked, s.work.locked())...)
	}
	if s.all.dry == nil {
		steps = append(steps, End())
	}
	return parked, Run(ctx, s.conn, steps)
}
