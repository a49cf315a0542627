package doctor

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"rollcall/internal/target"
)

// Findings are those of the last examination of a process, each of which its log has once. The zero value has none.
type Findings struct {
	mu   sync.Mutex
	last *Diagnosis
	said map[finding]bool
}

// finding tells findings apart: what one says may change with each look, such as a number.
type finding struct{ code, place string }

// unseen is the code of a check that could not be made.
const unseen = "unseen"

// levels are those of the log.
var levels = map[Severity]slog.Level{Error: slog.LevelError, Warning: slog.LevelWarn, Notice: slog.LevelWarn}

// Last is the last examination, without findings before the first.
func (f *Findings) Last() *Diagnosis {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.last == nil {
		return &Diagnosis{}
	}
	return f.last
}

// Said notes findings that the log has already.
func (f *Findings) Said(found ...target.Finding) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, one := range found {
		f.first(string(one.Code), one.At)
	}
}

// first notes a finding, and reports whether it is new.
func (f *Findings) first(code, place string) bool {
	if f.said == nil {
		f.said = map[finding]bool{}
	}
	key := finding{code, place}
	had := f.said[key]
	f.said[key] = true
	return !had
}

// Log takes an examination. It logs each finding once, and that one is gone; an examination that has not seen
// everything ends none.
func (f *Findings) Log(d *Diagnosis, log *slog.Logger) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.last = d
	now := map[finding]bool{}
	for _, one := range d.Findings {
		now[finding{string(one.Code), one.Place}] = true
		if f.first(string(one.Code), one.Place) {
			log.Log(context.Background(), levels[one.Severity], "a finding", "code", one.Code, "place", one.Place, "meaning", one.Meaning,
				"remedy", one.Remedy.Text)
		}
	}
	for _, u := range d.Unseen {
		if f.first(unseen, u.Check) {
			log.Warn("a check of doctor can't be made; the others go on", "check", u.Check, "reason", u.Why)
		}
	}
	if len(d.Unseen) > 0 {
		return
	}
	for key := range f.said {
		if !now[key] {
			delete(f.said, key)
			if key.code != unseen {
				log.Info("a finding is gone", "code", key.code, "place", key.place)
			}
		}
	}
}

// Pause is that between two examinations. They take some dozens of milliseconds; what must be known at once, the
// watches of the targets say.
const Pause = 5 * time.Minute
