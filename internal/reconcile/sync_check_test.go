package reconcile_test

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"rollcall/internal/event"
	"rollcall/internal/postgres/roll"
	"rollcall/internal/reconcile"
	"rollcall/internal/testtag"
)

// life is a user, and what Rollcall has acknowledged of them.
type life struct {
	id      string
	leaving atomic.Bool  // the user is being deleted at the provider
	version atomic.Int64 // the highest that was acknowledged
	deleted atomic.Bool  // the deletion was acknowledged
}

// acknowledge notes a version, if it is the highest.
func (l *life) acknowledge(version int64) {
	for old := l.version.Load(); old < version && !l.version.CompareAndSwap(old, version); old = l.version.Load() {
	}
}

// learn notes what a webhook has told.
func (l *life) learn(e event.Event) {
	if e.Op == event.Delete {
		l.deleted.Store(true)
		return
	}
	l.acknowledge(e.User.Version)
}

// syncCheck asks for users just in time, on every replica, and holds the answers against what
// had been acknowledged when it asked.
type syncCheck struct {
	t       *testing.T
	source  string
	syncers []*reconcile.Syncer

	mu   sync.Mutex
	said map[string]int // answers and looks, by kind
}

func newSyncCheck(t *testing.T, source string) *syncCheck {
	return &syncCheck{t: t, source: source, said: map[string]int{}}
}

// visit adds a replica: with a Syncer that looks every time, and one that believes a young roll.
func (w *syncCheck) visit(r *project, p reconcile.Provider) {
	cfg := reconcile.SyncConfig{
		Providers: map[string]reconcile.Provider{w.source: p}, DB: r.DB, Submit: r.pipeline.Submit,
		Observe: func(_, result string) { w.count("look " + result) },
	}
	var minutes atomic.Int64
	cfg.Now = func() time.Time { return time.Unix(60*minutes.Add(2), 0) } // each look is the first in a minute
	w.syncers = append(w.syncers, reconcile.NewSyncer(cfg))
	cfg.Now, cfg.MaxAge = time.Now, 20*time.Millisecond
	w.syncers = append(w.syncers, reconcile.NewSyncer(cfg))
}

func (w *syncCheck) count(kind string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.said[kind]++
}

// ask asks for users, as long as ctx lasts; choose may choose no user.
func (w *syncCheck) ask(ctx context.Context, random *rand.Rand, choose func() *life) {
	for ; ctx.Err() == nil; time.Sleep(time.Duration(random.Int64N(int64(2 * time.Millisecond)))) {
		l := choose()
		if l == nil {
			continue
		}
		version, deleted := l.version.Load(), l.deleted.Load()
		m, err := w.syncers[random.IntN(len(w.syncers))].Sync(context.Background(), w.source, l.id)
		if err == nil {
			w.living(l, m, version, deleted)
			continue
		}
		w.absent(l, err, version)
	}
}

func (w *syncCheck) living(l *life, m roll.Member, version int64, deleted bool) {
	w.count("living")
	switch {
	case deleted:
		w.t.Errorf("%s is said to live after the deletion was acknowledged", l.id)
	case m.Version < version:
		w.t.Errorf("%s has version %d after %d was acknowledged", l.id, m.Version, version)
	}
	l.acknowledge(m.Version)
}

func (w *syncCheck) absent(l *life, err error, version int64) {
	var limit *reconcile.LimitError
	switch {
	case errors.Is(err, reconcile.ErrDeleted):
		w.count("deleted")
		l.deleted.Store(true)
		if !l.leaving.Load() {
			w.t.Errorf("%s is alive: %v", l.id, err)
		}
	case errors.Is(err, reconcile.ErrGone):
		w.count("gone")
		if version > 0 && !l.leaving.Load() {
			w.t.Errorf("%s is alive and known: %v", l.id, err)
		}
	case errors.As(err, &limit):
		w.count("limited")
	case errors.Is(err, event.ErrUnavailable):
		w.count("unavailable")
	default:
		w.t.Errorf("%s: %v", l.id, err)
	}
}

// busy fails unless there was something of everything to be witnessed.
func (w *syncCheck) busy() {
	w.t.Helper()
	for _, kind := range []string{"living", "deleted", "gone", "look found", "look gone"} {
		if testtag.Long && w.said[kind] == 0 { // a few users may miss a kind
			w.t.Errorf("no answer was %q", kind)
		}
	}
	w.t.Logf("just in time: %v", w.said)
}
