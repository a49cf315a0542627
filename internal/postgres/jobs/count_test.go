package jobs

import (
	"context"
	"errors"
	"testing"

	"rollcall/internal/must"
)

// A run that is under way and one that waits are counted, and a job that failed until it runs well again, however
// often it failed.
func TestCount(t *testing.T) {
	t.Parallel()
	b := newMigrated(t)
	well, begun, end := false, make(chan struct{}), make(chan struct{})
	r := startReplica(t, b.url,
		never("failing", func(context.Context) error {
			if well {
				return nil
			}
			return errors.New("no")
		}),
		never("long", func(context.Context) error { close(begun); <-end; return nil }))
	counts := func(want Counts) {
		t.Helper()
		must.Equal(t, must.Get(Count(t.Context(), r.pool))(t), want, "counts")
	}
	counts(Counts{})
	for runs := range 2 {
		r.due("failing")
		b.awaitRuns(runs+1, "state = 'discarded'")
	}
	counts(Counts{Failed: 1})
	b.Run(`insert into rollcall.river_job (kind, args, scheduled_at, state)
		values ('rollcall_job', '{"name": "later"}', now() + interval '1 day', 'scheduled')`)
	r.due("long")
	<-begun
	counts(Counts{Waiting: 1, Running: 1, Failed: 1})
	well = true
	r.due("failing")
	b.awaitRuns(1, "state = 'completed'")
	close(end)
	b.awaitRuns(2, "state = 'completed'")
	counts(Counts{Waiting: 1})
}
