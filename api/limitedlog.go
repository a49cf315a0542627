package api

import (
	"log/slog"
	"sync"
	"time"
)

const (
	// linesTime and linesOfAKind bound the lines about requests without a valid signature: anybody
	// can send tens of thousands a second. The metrics count them all.
	linesTime    = 10 * time.Second
	linesOfAKind = 20
)

// limitedLog bounds the lines of each kind and says in one line how many were left out.
type limitedLog struct {
	log   *slog.Logger
	mu    sync.Mutex
	lines map[string]int // of each kind since the first of linesTime
}

func newLimitedLog(log *slog.Logger) *limitedLog {
	return &limitedLog{log: log, lines: map[string]int{}}
}

// allow counts a line and reports whether it is to be written. The kinds are few.
func (l *limitedLog) allow(kind string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.lines[kind] == 0 {
		time.AfterFunc(linesTime, func() { l.sum(kind) })
	}
	l.lines[kind]++
	return l.lines[kind] <= linesOfAKind
}

func (l *limitedLog) sum(kind string) {
	l.mu.Lock()
	n := l.lines[kind]
	delete(l.lines, kind)
	l.mu.Unlock()
	if n > linesOfAKind {
		l.log.Warn("lines of one kind were left out", "kind", kind, "lines", n-linesOfAKind, "seconds", linesTime.Seconds())
	}
}
