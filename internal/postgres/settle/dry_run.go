package settle

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"slices"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"rollcall/internal/postgres/catalog"
	"rollcall/internal/postgres/sqlstate"
)

// DryRun is what transactions would do to the rows of targets.
type DryRun struct {
	Rows []DryRow // in the order of targets, then of keys; of all rows that were settled, changed or not
	// Refused are the rows that a target would park.
	Refused []Refusal
	// Unread are the targets whose rows can't be read, with why.
	Unread map[string]string
}

// DryRow is the row of a user, an organisation or a membership in a target before and after, as a JSON object with
// the columns in the order of the table; "" where there is none.
type DryRow struct {
	Target        string
	Key           Key
	Before, After string
	// Adopted: the row was there, without its key. Before has the key already.
	Adopted bool
}

// DryRun runs transactions as Commit does, one after the other in a single one, which is rolled back. They are those
// that do commits by the targets it is given. Only what no transaction can undo stays, such as the numbers that
// sequences have given out. The rows of the roll are locked meanwhile, so what is done at once must be small.
func (ts *Targets) DryRun(ctx context.Context, do func(*Targets) error) (*DryRun, error) {
	const tries = 3
	mode := Mode(0)
	for try := 1; ; try++ {
		d := &dryRun{mode: mode, rows: map[entry]*DryRow{}, refused: map[entry]Refusal{}, unread: map[string]string{}}
		err := ts.Within(ctx, func(conn *pgx.Conn) error {
			d.conn = conn
			if err := Run(ctx, conn, Begin(ts.Pool.Timeouts())); err != nil {
				return err
			}
			return do(ts.undone(d))
		})
		switch {
		case err == nil:
			return d.result(ts), nil
		case FailedFor(err, constraintRefuses) && !mode.has(atOnce):
			mode = atOnce // as Commit does, to find the rows
		case try == tries || ctx.Err() != nil || sqlstate.ClassOf(err) != sqlstate.Retry:
			return nil, ts.Pool.Explain(err)
		default:
			pause(ctx)
		}
	}
}

// Since reads the rows of an earlier dry run as they are now: Before is what they were then. It changes nothing.
func (ts *Targets) Since(ctx context.Context, earlier *DryRun) (*DryRun, error) {
	before := map[entry]*DryRow{}
	var users []Key
	for i := range earlier.Rows {
		row := &earlier.Rows[i]
		before[entry{row.Target, row.Key}] = row
		if !slices.Contains(users, row.Key) {
			users = append(users, row.Key)
		}
	}
	return ts.DryRun(ctx, func(undone *Targets) error {
		s := &separation{all: undone, targets: undone.All(), users: users}
		return undone.dry.read(ctx, s, func(row *DryRow, _ bool, now string) {
			row.After = now
			if was := before[entry{row.Target, row.Key}]; was != nil {
				row.Before, row.Adopted = was.Before, was.Adopted
			}
		})
	})
}

// undone are the targets in a transaction that will be rolled back. What is found out about them there counts only
// there.
func (ts *Targets) undone(d *dryRun) *Targets {
	o := &Targets{Pool: ts.Pool, Log: slog.New(slog.DiscardHandler), ExplainTime: ts.ExplainTime, dry: d}
	o.Attempts.Store(ts.Attempts.Load())
	o.now.Store(ts.now.Load())
	return o
}

// dryRun is a transaction that will be rolled back.
type dryRun struct {
	conn    *pgx.Conn
	mode    Mode
	rows    map[entry]*DryRow
	refused map[entry]Refusal
	unread  map[string]string
}

// entry is a row of the roll in a target.
type entry struct {
	target string
	user   Key
}

// commit is Commit without an end. The targets run one by one: after an error of the server nothing of the
// transaction would be left.
func (d *dryRun) commit(ctx context.Context, ts *Targets, w *Work) (parked map[Key]bool, err error) {
	w.only = ts.newest(w.only)
	s := &separation{all: ts, conn: d.conn, work: w, targets: w.among(ts.All()), mode: d.mode | w.mode(), last: true}
	if err := s.begin(ctx); err != nil {
		return nil, err
	}
	if err := d.read(ctx, s, func(row *DryRow, first bool, now string) {
		if first {
			row.Before = now
		}
	}); err != nil {
		return nil, err
	}
	pieces := s.work.Pieces(s.targets)
	upserts := slices.IndexFunc(pieces, func(p Piece) bool { return p.swaps })
	if upserts > 0 {
		if err := s.pieces(ctx, pieces[:upserts]); err != nil {
			return nil, err
		}
		if err := d.adopted(ctx, s); err != nil {
			return nil, err
		}
		pieces = pieces[upserts:]
	}
	if parked, err = s.finish(ctx, pieces); err != nil {
		return nil, err
	}
	for _, t := range s.targets {
		for _, u := range following(t, s.users) {
			delete(d.refused, entry{t.Name, u})
		}
	}
	for _, r := range slices.Concat(s.refused, s.outages()) {
		d.refused[entry{r.target, r.User}] = r
	}
	return parked, d.read(ctx, s, func(row *DryRow, _ bool, now string) { row.After = now })
}

// adopted reads the rows that were taken over.
func (d *dryRun) adopted(ctx context.Context, s *separation) error {
	if len(s.adopting) == 0 {
		return nil
	}
	return d.read(ctx, s, func(row *DryRow, _ bool, now string) {
		if row.Before == "" && now != "" && slices.Contains(s.adopting, entry{row.Target, row.Key}) {
			row.Before, row.Adopted = now, true
		}
	})
}

// read reads the rows of all who are settled. Of targets that are out of service, and of those whose rows can't be
// read, there are none.
func (d *dryRun) read(ctx context.Context, s *separation, note func(row *DryRow, first bool, now string)) error {
	for _, t := range s.targets {
		users := following(t, s.users)
		if len(users) == 0 || t.Outage != nil || d.unread[t.Name] != "" {
			continue
		}
		now, err := d.readTarget(ctx, s.all, t, users)
		if answer, ok := errors.AsType[*pgconn.PgError](err); ok && !d.conn.IsClosed() {
			d.unread[t.Name] = sqlstate.Text(answer)
			continue
		}
		if err != nil {
			return err
		}
		for _, u := range users {
			at := entry{t.Name, u}
			row, had := d.rows[at]
			if !had {
				row = &DryRow{Target: t.Name, Key: u}
				d.rows[at] = row
			}
			note(row, !had, now[u])
		}
	}
	return nil
}

// readTarget reads the rows of one target in a savepoint: a key may be one that can't be computed.
func (d *dryRun) readTarget(ctx context.Context, ts *Targets, t *catalog.Compiled, users []Key) (map[Key]string, error) {
	now := map[Key]string{}
	u := Key{Roll: t.Roll}
	var row, should *string
	sources, ids := KeyArrays(users)
	read := Step{Kind: Reading, SQL: t.Compiler.Rows(), Args: []any{sources, ids, true}, Read: func(rows pgx.Rows) error {
		_, err := pgx.ForEachRow(rows, []any{&u.Source, &u.ID, &row, &should}, func() error {
			if row != nil {
				now[u] = *row
			}
			return nil
		})
		return err
	}}
	steps := append(Restore(ts.Pool.Timeouts()), Step{Kind: Marking, SQL: "savepoint dry"}, read, Step{Kind: Marking, SQL: "release savepoint dry"})
	err := Run(ctx, d.conn, steps)
	if err != nil && !d.conn.IsClosed() {
		if _, back := d.conn.Exec(ctx, "rollback to savepoint dry"); back != nil {
			return nil, back
		}
	}
	return now, err
}

// result puts what was read in order.
func (d *dryRun) result(ts *Targets) *DryRun {
	place := map[string]int{}
	for i, t := range ts.Configured() {
		place[t.Name] = i
	}
	inOrder := func(a, b entry) int {
		if a.target != b.target {
			return place[a.target] - place[b.target]
		}
		return CompareKeys(a.user, b.user)
	}
	all := &DryRun{Unread: d.unread}
	for _, e := range slices.SortedFunc(maps.Keys(d.rows), inOrder) {
		if d.unread[e.target] == "" {
			all.Rows = append(all.Rows, *d.rows[e])
		}
	}
	for _, e := range slices.SortedFunc(maps.Keys(d.refused), inOrder) {
		all.Refused = append(all.Refused, d.refused[e])
	}
	return all
}
