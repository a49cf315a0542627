package reconcile

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strconv"
	"strings"
	"time"

	"rollcall/internal/clerk"
	"rollcall/internal/postgres/directory"
)

const (
	// sampled is of how many rows of the roll the API must know one.
	sampled = 20
	// sampledAtOnce is how many of them are asked for at a time; mostly the first few do.
	sampledAtOnce = 5
	// absentPage is about how many absent rows the API is asked at a time: at the pace of a
	// development instance it takes a minute or two until they are recorded.
	absentPage = 500
)

// listing is Clerk's list of users, of organisations or of memberships, page by page. What it has shown is noted in
// the database, where the roll is compared with it at the end.
type listing struct {
	Config
	kind    *kind
	seen    *directory.Listing
	at      clerk.Position // where the list goes on, or begins
	list    *clerk.Listing // nil before the first page
	started time.Time
}

func (cfg Config) listing(ctx context.Context, k *kind, dry bool) (*listing, error) {
	l := &listing{Config: cfg, kind: k, seen: cfg.DB.Directory().ListingOf(k.Roll, cfg.Source.Name())}
	if !dry {
		return l, nil
	}
	var err error
	l.seen, err = cfg.DB.Directory().DryListing(ctx, k.Roll, cfg.Source.Name())
	return l, err
}

func (l *listing) name() string { return l.URL }

func (l *listing) doubt() string { return "is this the key of the right instance?" }

func (l *listing) close() { l.seen.Close() }

func (l *listing) begin(position string, started time.Time) {
	listed, after, _ := strings.Cut(position, " ")
	l.at.After = after
	l.at.Listed, _ = strconv.ParseInt(listed, 10, 64) // "" is 0
	l.started = started
}

func (l *listing) position() string {
	p := l.list.Position()
	return strconv.FormatInt(p.Listed, 10) + " " + p.After
}

func (l *listing) count(ctx context.Context) (total, known int64, err error) {
	if total, err = l.kind.count(l.API, ctx); err != nil {
		return 0, 0, l.explain(err)
	}
	listed, known, err := l.seen.Count(ctx)
	return max(total, listed), known, err // a count may be wrong
}

// next asks for the next page. What it shows is noted before the run's position is, so that
// a run which goes on from there knows them all.
func (l *listing) next(ctx context.Context) (part, error) {
	if l.list == nil {
		if err := l.recognize(ctx); err != nil {
			return part{}, err
		}
		l.list = l.kind.list(l.API, l.at)
	}
	asked, err := l.asked(ctx)
	if err != nil {
		return part{}, err
	}
	rows, err := l.list.Next(ctx)
	if err != nil {
		return part{}, l.explain(err)
	}
	if len(rows) == 0 {
		return part{position: l.position(), end: true}, l.complete(ctx)
	}
	pairs, err := l.note(ctx, rows, asked)
	return part{pairs: pairs, position: l.position()}, err
}

// asked is the moment as of which an answer counts that is asked for now.
func (l *listing) asked(ctx context.Context) (time.Time, error) {
	now, err := l.seen.Now(ctx)
	return now.Add(-apiLag), err
}

func (l *listing) note(ctx context.Context, rows []clerk.Listed, asked time.Time) ([]directory.Pair, error) {
	var page []directory.Entry
	var unreadable []directory.Pair
	for _, r := range rows {
		if r.ID == "" {
			unreadable = append(unreadable, directory.Pair{Row: r.Row, At: asked})
			continue
		}
		page = append(page, directory.Entry{ID: r.ID, Row: r.Row})
	}
	pairs, err := l.seen.Note(ctx, page, asked)
	return append(pairs, unreadable...), err
}

// recognize makes sure that the key is not another instance's, before anything is written: of
// some rows that the roll has long known the API must know one.
func (l *listing) recognize(ctx context.Context) error {
	now, err := l.asked(ctx)
	if err != nil || l.MaxDelete >= 1 {
		return err
	}
	rows, err := l.seen.SampleRows(ctx, sampled, now.Add(-(absentLag - apiLag)))
	if err != nil || len(rows) == 0 {
		return err
	}
	fetch := func(ctx context.Context, few []directory.Pair) ([][]byte, error) {
		return l.kind.fetch(ctx, l.API, few)
	}
	if known, err := knowsOne(ctx, slices.Chunk(rows, sampledAtOnce), fetch); known || err != nil {
		return l.explain(err)
	}
	return fmt.Errorf("%w: this key seems to belong to another instance: none of the %d %s of %s that were asked for is known at %s; nothing was changed in %s. Correct api.key of the source; if they are all gone, run again with --max-delete 100%%",
		ErrStopped, len(rows), l.kind.Name, l.Source.Name(), l.URL, l.kind.Table)
}

// knowsOne reports whether a provider knows one of some rows of the roll, asked for a few at a
// time, and so is the provider that the roll follows. Look returns nil for a row that isn't there.
func knowsOne[K any](ctx context.Context, rows iter.Seq[[]K], look func(context.Context, []K) ([][]byte, error)) (bool, error) {
	for few := range rows {
		found, err := look(ctx, few)
		if err != nil {
			return false, err
		}
		if slices.ContainsFunc(found, func(row []byte) bool { return row != nil }) {
			return true, nil
		}
	}
	return false, nil
}

// complete makes sure that a list which has ended was not cut short: the provider counts what it has
// by another way. What came or left meanwhile makes a small difference.
func (l *listing) complete(ctx context.Context) error {
	counted, err := l.kind.count(l.API, ctx)
	if err != nil {
		return l.explain(err)
	}
	listed, _, err := l.seen.Count(ctx)
	if err != nil || listed+max(10, counted/100) >= counted {
		return err
	}
	if l.MaxDelete >= 1 { // each is asked about singly all the same
		l.Log.Warn("the list is not complete", "source", l.Source.Name(), "roll", l.kind.Name, "listed", listed, "counted", counted)
		return nil
	}
	return fmt.Errorf("%w, %s was deleted: the list of %s ended after %d of the %d %s that it counts; run again later, or with --max-delete 100%% to ask about each of those that are missing",
		ErrStopped, l.kind.none, l.URL, listed, counted, l.kind.Name)
}

// countAbsent leaves out rows that the roll has learned of since shortly before the list began: it
// need not know them.
func (l *listing) countAbsent(ctx context.Context) (int64, error) {
	return l.seen.CountUnlisted(ctx, l.started.Add(-absentLag))
}

func (l *listing) absent(ctx context.Context, after string) ([]directory.Pair, error) {
	return l.seen.Unlisted(ctx, after, absentPage, l.started.Add(-absentLag))
}

func (l *listing) confirm(ctx context.Context, absent []directory.Pair) (gone, there []directory.Pair, err error) {
	asked, err := l.asked(ctx)
	if err != nil {
		return nil, nil, err
	}
	found, err := l.kind.fetch(ctx, l.API, absent)
	if err != nil {
		return nil, nil, l.explain(err)
	}
	for i, p := range absent {
		p.Row, p.At = found[i], asked
		if p.Row == nil {
			p.At = asked.Add(-(absentLag - apiLag))
			gone = append(gone, p)
		} else {
			there = append(there, p)
		}
	}
	return gone, there, nil
}

// preview keeps what the list has shown in a temporary table.
func (l *listing) preview(ctx context.Context, guard func(int64) error, each func(part) error) (err error) {
	if l.started, err = l.seen.Now(ctx); err != nil {
		return err
	}
	for p := (part{}); !p.end; {
		if p, err = l.next(ctx); err == nil {
			err = each(p)
		}
		if err != nil {
			return err
		}
	}
	gone, err := l.countAbsent(ctx)
	if err == nil {
		err = guard(gone)
	}
	if err != nil || gone == 0 {
		return err
	}
	return eachAbsent(ctx, l, func(_ int, gone, there []directory.Pair) error {
		return each(part{pairs: append(gone, there...)})
	})
}

// explain says which key is refused.
func (l *listing) explain(err error) error {
	if errors.Is(err, clerk.ErrRefused) {
		return fmt.Errorf("api.key of source %s: %w", l.Source.Name(), err)
	}
	return err
}
