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

// rollBusy: somebody holds a row of the roll, or the table that one target is to be settled
// in. The first is only ever another transaction of Rollcall's, which is no target's fault
// and soon over.
type rollBusy struct{ cause error }

func (r *rollBusy) Error() string { return "a lock was waited for in vain: " + sayMasked(r.cause) }

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

	tx, err := conn.BeginTx(ctx, pgx.TxOptions{IsoLevel: pgx.ReadCommitted, AccessMode: pgx.ReadWrite})
	if err != nil {
		return nil, err
	}
	if _, err := tx.Exec(ctx, sql.Settings, db.timeoutsAfter(cause)...); err != nil {
		return nil, err
	}
	s := &separation{tx: tx, work: w, last: last, asking: blameOf(cause) == blameWait, immediate: errors.As(cause, new(*deferredRefusal))}
	if err := s.openAndSettle(ctx, w.among(*db.targets.Load())); err != nil {
		return nil, err
	}
	if err := tx.Commit(ctx); err != nil {
		return nil, err
	}
	for _, r := range s.refused {
		db.log.Warn("parked", "target", r.target, "source", r.user.source, "user", r.user.id, "sqlstate", r.state, "error", r.message)
	}
	return &s.done, nil
}

// separation is one transaction that keeps the targets apart.
type separation struct {
	last   bool // there is no further try
	tx     pgx.Tx
	work   *work
	users  []userKey // written or locked by this transaction
	asking bool      // ask who holds a lock before waiting for one
	// immediate: a deferred constraint has failed, so they all speak at once.
	immediate bool
	done      result
	refused   []refusal
}

func (s *separation) openAndSettle(ctx context.Context, targets []*compiled) error {
	if err := s.open(ctx); err != nil {
		return err
	}
	if s.immediate {
		if _, err := s.tx.Exec(ctx, "set constraints all immediate"); err != nil {
			return err
		}
	}
	for _, t := range slices.Backward(targets) {
		if s.work.removes(t) {
			if err := s.settle(ctx, piece{t, t.removal, t.removalWanted, t.removalLocked}); err != nil {
				return err
			}
		}
	}
	for _, t := range targets {
		if s.work.settles(t) {
			if err := s.settle(ctx, piece{t, t.upsert, t.upsertWanted, t.upsertLocked}); err != nil {
				return err
			}
		}
	}
	if !s.immediate {
		// A deferred constraint would fail at commit, where it blames nobody.
		if _, err := s.tx.Exec(ctx, "set constraints all immediate"); err != nil {
			return &deferredRefusal{err}
		}
	}
	return s.park(ctx, targets, append(s.refused, s.outages(targets)...))
}

// open runs what opens the transaction and finds out whom it holds.
func (s *separation) open(ctx context.Context) error {
	for _, o := range s.work.open {
		rows, err := s.tx.Query(ctx, o.sql, o.args...)
		if err == nil && o.read != nil {
			err = o.read(rows, &s.done)
		}
		rows.Close()
		if err = errors.Join(err, rows.Err()); err != nil {
			return rollError(err)
		}
	}
	s.users = s.work.users
	if s.work.batch != nil {
		s.users = s.work.batch.writtenUsers(&s.done)
	}
	return nil
}

// piece is one statement of a target and the question who would have to wait in it.
type piece struct {
	target    *compiled
	statement string
	wanted    string // whom it is about
	locked    string // who of them is held by somebody else
}

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
			s.refused = append(s.refused, refused...)
			return nil
		}
		users = users[:0:0]
		for _, r := range refused {
			if r.state == lockNotAvailable {
				s.refused = append(s.refused, r) // whoever holds the row still does
				continue
			}
			users = append(users, r.user)
		}
		slices.SortFunc(users, compareKeys)
	}
	return nil
}

// passing returns the first refusal that blames nobody, such as a deadlock, as the error it
// was: the whole batch runs again, and only the last try holds it against the target.
func passing(refused []refusal) error {
	for _, r := range refused {
		if blameOfState(r.state) == blameNobody {
			return &pgconn.PgError{Severity: "ERROR", Code: r.state, Message: r.message}
		}
	}
	return nil
}

const lockNotAvailable = "55P03"

// settlePasses bounds how often the refused are tried again: a chain of e-mails as long as
// the batch would take cubic time.
const settlePasses = 8

// stateOf is the SQLSTATE of an error, empty for one that PostgreSQL did not send.
func stateOf(err error) string {
	var answer *pgconn.PgError
	if errors.As(err, &answer) {
		return answer.Code
	}
	return ""
}

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
	if errors.As(err, &answer) && !s.tx.Conn().IsClosed() {
		return refuseAll(p.target, users, answer), nil
	}
	return refused, err
}

func (s *separation) trySavepoint(ctx context.Context, p piece, users []userKey) ([]refusal, error) {
	savepoint, err := s.tx.Begin(ctx)
	if err != nil {
		return nil, err
	}
	refused, err := s.run(ctx, savepoint, p, users)
	if err != nil {
		return nil, errors.Join(err, savepoint.Rollback(ctx))
	}
	return refused, savepoint.Commit(ctx)
}

func (s *separation) run(ctx context.Context, tx pgx.Tx, p piece, users []userKey) ([]refusal, error) {
	var refused []refusal
	if s.asking {
		var err error
		if refused, err = s.ask(ctx, tx, p, users); err != nil {
			return nil, err
		}
		users = without(users, refused)
	}
	more, err := settleApart(ctx, tx, p, users)
	return append(refused, more...), err
}

// ask finds the users for whom the statement would wait, without waiting. Those whose key
// or condition can't even be computed are sorted out first.
func (s *separation) ask(ctx context.Context, tx pgx.Tx, p piece, users []userKey) ([]refusal, error) {
	if _, err := tx.Exec(ctx, "savepoint ask"); err != nil {
		return nil, err
	}
	_, err := tx.Exec(ctx, fmt.Sprintf("lock table %s in row exclusive mode nowait", quoteTable(p.target.Table)))
	if stateOf(err) == "42501" { // with rights to columns only, the table can't be asked for
		_, err = tx.Exec(ctx, "rollback to savepoint ask")
	}
	if err != nil {
		return nil, err
	}
	refused, err := settleApart(ctx, tx, piece{target: p.target, statement: p.wanted}, users)
	if err != nil {
		return nil, err
	}
	locked, err := whoIsLocked(ctx, tx, p, without(users, refused))
	for u := range locked {
		refused = append(refused, refusal{p.target.Name, u, lockNotAvailable, "another transaction holds the row of this user"})
	}
	return refused, err
}

func without(users []userKey, refused []refusal) []userKey {
	return slices.DeleteFunc(slices.Clone(users), func(u userKey) bool {
		return slices.ContainsFunc(refused, func(r refusal) bool { return r.user == u })
	})
}

// settleApart runs a piece for users and returns those it refuses.
func settleApart(ctx context.Context, tx pgx.Tx, p piece, users []userKey) ([]refusal, error) {
	if len(users) == 0 {
		return nil, nil
	}
	var refused []refusal
	sources, ids := keyArrays(users)
	rows, _ := tx.Query(ctx, "select source, id, state, message from rollcall.settle_apart($1, $2, $3)", p.statement, sources, ids)
	var u userKey
	var state, message string
	_, err := pgx.ForEachRow(rows, []any{&u.source, &u.id, &state, &message}, func() error {
		refused = append(refused, refusal{p.target.Name, u, state, masked(state, message)})
		return nil
	})
	return refused, err
}

// whoIsLocked asks, without waiting, which users' rows somebody else holds. A locked table
// has to be known before: skip locked itself would wait for it.
func whoIsLocked(ctx context.Context, tx pgx.Tx, p piece, users []userKey) (map[userKey]bool, error) {
	sources, ids := keyArrays(users)
	rows, _ := tx.Query(ctx, p.locked, sources, ids, true)
	locked := map[userKey]bool{}
	var u userKey
	_, err := pgx.ForEachRow(rows, []any{&u.source, &u.id}, func() error {
		locked[u] = true
		return nil
	})
	return locked, err
}

func refuseAll(t *compiled, users []userKey, why *pgconn.PgError) []refusal {
	refused := make([]refusal, len(users))
	for i, u := range users {
		refused[i] = refusal{t.Name, u, why.Code, masked(why.Code, why.Message)}
	}
	return refused
}

// outages are the users of the targets that are out of service; the log has said so once.
func (s *separation) outages(targets []*compiled) []refusal {
	var refused []refusal
	for _, t := range targets {
		if t.outage == nil {
			continue
		}
		for _, u := range following(t, s.users) {
			refused = append(refused, refusal{t.Name, u, t.outage.state, t.outage.message})
		}
	}
	return refused
}

// park writes down whom the targets refuse and forgets it of everybody else.
func (s *separation) park(ctx context.Context, targets []*compiled, refused []refusal) error {
	s.done.parked = map[userKey]bool{}
	type entry struct {
		target string
		user   userKey
	}
	byEntry := map[entry]refusal{}
	for _, r := range refused {
		byEntry[entry{r.target, r.user}] = r
		s.done.parked[r.user] = true
	}
	for _, t := range targets {
		settled := slices.DeleteFunc(slices.Clone(s.users), func(u userKey) bool {
			_, ok := byEntry[entry{t.Name, u}]
			return ok
		})
		sources, ids := keyArrays(settled)
		if _, err := s.tx.Exec(ctx, sql.Clear, sources, ids, true, []string{t.Name}); err != nil {
			return err
		}
	}
	var target, source, id, state, message []string
	for _, r := range byEntry {
		target, source, id = append(target, r.target), append(source, r.user.source), append(id, r.user.id)
		state, message = append(state, r.state), append(message, r.message)
	}
	if _, err := s.tx.Exec(ctx, sql.Park, target, source, id, state, message); err != nil {
		return err
	}
	if s.work.batch == nil {
		return nil
	}
	mark := s.work.markParked(s.done.parked)
	_, err := s.tx.Exec(ctx, mark.sql, mark.args...)
	return err
}

// maskedError is an error whose words hold no values of a user.
type maskedError struct{ error }

func (e *maskedError) Error() string { return sayMasked(e.error) }

func (e *maskedError) Unwrap() error { return e.error }

// sayMasked is an error without the values of a user.
func sayMasked(err error) string {
	var answer *pgconn.PgError
	if errors.As(err, &answer) {
		return fmt.Sprintf("%s (%s)", masked(answer.Code, answer.Message), answer.Code)
	}
	return mailAddress.ReplaceAllString(err.Error(), "…@…")
}
