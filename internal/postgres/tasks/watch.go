package tasks

import (
	"context"
	"sync/atomic"
	"time"
)

// watchPause is the pause between two notes of a task's progress.
const watchPause = 500 * time.Millisecond

// watch notes the progress of a task, and stops it when it is told to.
type watch struct {
	list        *List
	task        int64
	stop        context.CancelCauseFunc
	done, total atomic.Int64
}

func (w *watch) note(done, total int64) {
	w.done.Store(done)
	w.total.Store(total)
}

// follow notes the progress until the task has ended. While the database is away nothing is noted.
func (w *watch) follow(ctx context.Context, ended <-chan struct{}) {
	for ticker := time.NewTicker(watchPause); ; {
		select {
		case <-ended:
			ticker.Stop()
			return
		case <-ticker.C:
		}
		t, err := w.list.one(ctx, "update rollcall.tasks set done = $2, total = $3 where id = $1 returning "+columns, w.task, w.done.Load(), w.total.Load())
		if err == nil && t.StopRequested {
			w.stop(errStopped)
		}
	}
}
