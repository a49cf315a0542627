package history

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"rollcall/internal/postgres/connection"
)

// Correction is what a replay has found out about a recorded event.
type Correction struct {
	Key
	Outcome string
	// Reread: the event could not be read before; then Type, User and Body are what it turned out to be.
	Reread     bool
	Type, User string
	Body       []byte
}

// Correct writes corrections, in the order of keys, as all locks are taken.
func (h History) Correct(ctx context.Context, list []Correction) error {
	if len(list) == 0 {
		return nil
	}
	list = slices.SortedFunc(slices.Values(list), func(a, b Correction) int {
		return strings.Compare(a.Source+"\x00"+a.ID, b.Source+"\x00"+b.ID)
	})
	var sources, ids, outcomes []string
	var types, users []*string
	var reread []bool
	var bodies [][]byte
	for i := range list {
		c := &list[i]
		sources, ids, outcomes = append(sources, c.Source), append(ids, c.ID), append(outcomes, c.Outcome)
		reread, bodies = append(reread, c.Reread), append(bodies, c.Body)
		types, users = append(types, textOrNull(c.Type)), append(users, textOrNull(c.User))
	}
	_, err := h.Pool.Exec(ctx, correctSQL, sources, ids, outcomes, types, users, reread, bodies)
	return connection.Wrap(h.Pool.Explain(err), "correct the outcome of events")
}

func textOrNull(text string) *string {
	if text == "" {
		return nil
	}
	return &text
}

// Run is a replay of a range that is under way.
type Run struct {
	// Asked is what it was asked for; another run of the same goes on where this one was interrupted.
	Asked string
	// Since and Until are the range, as it was when the run began.
	Since, Until time.Time
	// Position is where it goes on: a Page.Next, empty at the beginning.
	Position string
	// Counts are the events replayed, by what became of them.
	Counts map[string]int64
}

// resumable is how long after its beginning a run may go on.
const resumable = 6 * time.Hour

// BeginRun begins a run, or goes on with one that was interrupted: then the range is that of its beginning.
func (h History) BeginRun(ctx context.Context, r Run) (Run, error) {
	const begin = `insert into rollcall.replays as r (asked, since, until) values ($1, $2, $3)
on conflict (asked) do update set
  since = case when r.began_at > pg_catalog.now() - $4::interval then r.since else excluded.since end,
  until = case when r.began_at > pg_catalog.now() - $4::interval then r.until else excluded.until end,
  position = case when r.began_at > pg_catalog.now() - $4::interval then r.position else '' end,
  counts = case when r.began_at > pg_catalog.now() - $4::interval then r.counts else '{}' end,
  began_at = case when r.began_at > pg_catalog.now() - $4::interval then r.began_at else excluded.began_at end
returning since, until, position, counts`
	var counts []byte
	err := h.Pool.QueryRow(ctx, begin, r.Asked, r.Since, r.Until, resumable).Scan(&r.Since, &r.Until, &r.Position, &counts)
	if err == nil {
		r.Counts = map[string]int64{}
		err = json.Unmarshal(counts, &r.Counts)
	}
	if err != nil {
		return r, fmt.Errorf("begin a replay: %w", h.Pool.Explain(err))
	}
	r.Since, r.Until = r.Since.UTC(), r.Until.UTC()
	return r, nil
}

// NoteRun notes how far a run is. One whose position is empty has ended, and is forgotten.
func (h History) NoteRun(ctx context.Context, r Run) error {
	statement, args := "delete from rollcall.replays where asked = $1", []any{r.Asked}
	if r.Position != "" {
		counts, err := json.Marshal(r.Counts)
		if err != nil {
			return fmt.Errorf("note how far a replay is: %w", err)
		}
		statement, args = "update rollcall.replays set position = $2, counts = $3 where asked = $1", append(args, r.Position, counts)
	}
	_, err := h.Pool.Exec(ctx, statement, args...)
	return connection.Wrap(h.Pool.Explain(err), "note how far a replay is")
}
