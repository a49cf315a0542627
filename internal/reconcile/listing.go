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
	// sampled is of how many users of the roll the API must know one.
	sampled = 20
	// sampledAtOnce is how many of them are asked for at a time; mostly the first few do.
	sampledAtOnce = 5
	// absentPage is about how many absent users the API is asked at a time: at the pace of a
	// development instance it takes a minute or two until they are recorded.
	absentPage = 500
)

// listing is Clerk's list of users, page by page. The users that it has shown are noted in the database,
// where the roll is compared with it at the end.
type listing struct {
	Config
	seen    *directory.Listing
	at      clerk.Position // where the list goes on, or begins
	list    *clerk.Listing // nil before the first page
	started time.Time
}

func (cfg Config) listing(ctx context.Context, dry bool) (userList, error) {
	l := &listing{Config: cfg, seen: cfg.DB.Directory().Listing(cfg.Source.Name())}
	if !dry {
		return l, nil
	}
	var err error
	l.seen, err = cfg.DB.Directory().DryListing(ctx, cfg.Source.Name())
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
	if total, err = l.API.Count(ctx); err != nil {
		return 0, 0, l.explain(err)
	}
	_, known, err = l.seen.Count(ctx)
	return total, known, err
}

// next asks for the next page. What it shows is noted before the run's position is, so that
// a run which goes on from there knows them all.
func (l *listing) next(ctx context.Context) (part, error) {
	if l.list == nil {
		if err := l.recognize(ctx); err != nil {
			return part{}, err
		}
		l.list = l.API.List(l.at)
	}
	asked, err := l.asked(ctx)
	if err != nil {
		return part{}, err
	}
	users, err := l.list.Next(ctx)
	if err != nil {
		return part{}, l.explain(err)
	}
	if len(users) == 0 {
		return part{position: l.position(), end: true}, l.complete(ctx)
	}
	pairs, err := l.note(ctx, users, asked)
	return part{pairs: pairs, position: l.position()}, err
}

// asked is the moment as of which an answer counts that is asked for now.
func (l *listing) asked(ctx context.Context) (time.Time, error) {
	now, err := l.seen.Now(ctx)
	return now.Add(-apiLag), err
}

func (l *listing) note(ctx context.Context, users []clerk.Listed, asked time.Time) ([]directory.Pair, error) {
	var page []directory.Entry
	var unreadable []directory.Pair
	for _, u := range users {
		if u.ID == "" {
			unreadable = append(unreadable, directory.Pair{Row: u.User, At: asked})
			continue
		}
		page = append(page, directory.Entry{ID: u.ID, User: u.User})
	}
	pairs, err := l.seen.Note(ctx, page, asked)
	return append(pairs, unreadable...), err
}

// recognize makes sure that the key is not another instance's, before anything is written: of
// some users that the roll has long known the API must know one.
func (l *listing) recognize(ctx context.Context) error {
	now, err := l.asked(ctx)
	if err != nil || l.MaxDelete >= 1 {
		return err
	}
	ids, err := l.seen.Sample(ctx, sampled, now.Add(-(absentLag - apiLag)))
	if err != nil || len(ids) == 0 {
		return err
	}
	if known, err := knowsOne(ctx, slices.Chunk(ids, sampledAtOnce), l.API.FetchAll); known || err != nil {
		return l.explain(err)
	}
	return fmt.Errorf("%w: this key seems to belong to another instance: none of the %d users of %s that were asked for is known at %s; nothing was changed. Correct api.key of the source; if they are all gone, run again with --max-delete 100%%",
		ErrStopped, len(ids), l.Source.Name(), l.URL)
}

// knowsOne reports whether a provider knows one of some users of the roll, asked for a few at a
// time, and so is the provider that the roll follows. Look returns nil for a user who isn't there.
func knowsOne(ctx context.Context, ids iter.Seq[[]string], look func(context.Context, []string) ([][]byte, error)) (bool, error) {
	for few := range ids {
		users, err := look(ctx, few)
		if err != nil {
			return false, err
		}
		if slices.ContainsFunc(users, func(u []byte) bool { return u != nil }) {
			return true, nil
		}
	}
	return false, nil
}

// complete makes sure that a list which has ended was not cut short: the provider counts its
// users by another way. Who came or left meanwhile makes a small difference.
func (l *listing) complete(ctx context.Context) error {
	counted, err := l.API.Count(ctx)
	if err != nil {
		return l.explain(err)
	}
	listed, _, err := l.seen.Count(ctx)
	if err != nil || listed+max(10, counted/100) >= counted {
		return err
	}
	if l.MaxDelete >= 1 { // each is asked about singly all the same
		l.Log.Warn("the list of users is not complete", "source", l.Source.Name(), "listed", listed, "counted", counted)
		return nil
	}
	return fmt.Errorf("%w, no user was deleted: the list of %s ended after %d of the %d users that it counts; run again later, or with --max-delete 100%% to ask about each of those who are missing",
		ErrStopped, l.URL, listed, counted)
}

// countAbsent leaves out users that the roll has learned of since shortly before the list began: it
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
	ids := make([]string, len(absent))
	for i, p := range absent {
		ids[i] = p.ID
	}
	users, err := l.API.FetchAll(ctx, ids)
	if err != nil {
		return nil, nil, l.explain(err)
	}
	for i, p := range absent {
		p.Row, p.At = users[i], asked
		if p.Row == nil {
			p.At = asked.Add(-(absentLag - apiLag))
			gone = append(gone, p)
		} else {
			there = append(there, p)
		}
	}
	return gone, there, nil
}

// preview keeps the users that the list has shown in a temporary table.
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
