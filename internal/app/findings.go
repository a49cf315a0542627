package app

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"rollcall/internal/doctor"
)

// examinePause is the pause between two examinations. They take some dozens of milliseconds; what must be known at
// once, the watches say.
const examinePause = 5 * time.Minute

// findings are those of the last examination of this replica.
type findings struct {
	mu   sync.Mutex
	last *doctor.Diagnosis
}

func (f *findings) get() *doctor.Diagnosis {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.last == nil {
		return &doctor.Diagnosis{}
	}
	return f.last
}

func (f *findings) set(d *doctor.Diagnosis) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.last = d
}

// watchFindings examines at once, and then after each pause.
func (sv *service) watchFindings(ctx context.Context) {
	every(ctx, examinePause, func() { sv.examine(ctx) })
}

func (sv *service) examine(ctx context.Context) {
	cfg := sv.setup().Doctor(sv.db, sv.now.Load().apis)
	cfg.Targets = doctor.InService
	d := doctor.Examine(ctx, cfg)
	if ctx.Err() != nil {
		return
	}
	sv.findings.set(d)
	sv.said.say(d, sv.log)
}

// finding tells findings apart: what one says may change with each look, such as a number.
type finding struct{ code, place string }

// levels are those of the log.
var levels = map[doctor.Severity]slog.Level{doctor.Error: slog.LevelError, doctor.Warning: slog.LevelWarn, doctor.Notice: slog.LevelWarn}

// say logs each finding once, and that one is gone; an examination that has not reached the database ends none.
func (s *said) say(d *doctor.Diagnosis, log *slog.Logger) {
	now := map[finding]bool{}
	for _, f := range d.Findings {
		key := finding{string(f.Code), f.Place}
		now[key] = true
		if s.findings[key] {
			continue
		}
		s.findings[key] = true
		log.Log(context.Background(), levels[f.Severity], "a finding", "code", f.Code, "place", f.Place, "meaning", f.Meaning,
			"remedy", f.Remedy.Text)
	}
	for _, u := range d.Unseen {
		if key := (finding{"unseen", u.Check}); !s.findings[key] {
			s.findings[key] = true
			log.Warn("a check of doctor can't be made; the others go on", "check", u.Check, "reason", u.Why)
		}
	}
	if len(d.Unseen) > 0 {
		return
	}
	for key := range s.findings {
		if !now[key] {
			delete(s.findings, key)
			if key.code != "unseen" {
				log.Info("a finding is gone", "code", key.code, "place", key.place)
			}
		}
	}
}
