// Package testlog collects what is logged while a test reads it:
//
//	log := &testlog.Log{}
//	logger := slog.New(slog.NewJSONHandler(log, nil))
package testlog

import (
	"encoding/json"
	"strings"
	"sync"
)

// Log collects what is written to it. It may be read meanwhile.
type Log struct {
	mu   sync.Mutex
	text strings.Builder
}

// Write adds to it.
func (l *Log) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

// String is all that was written.
func (l *Log) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// Reset forgets it.
func (l *Log) Reset() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.text.Reset()
}

// Lines are the lines in JSON with a message, all of them for "".
func (l *Log) Lines(message string) []map[string]any {
	var found []map[string]any
	for line := range strings.Lines(l.String()) {
		var fields map[string]any
		if json.Unmarshal([]byte(line), &fields) == nil && (message == "" || fields["msg"] == message) {
			found = append(found, fields)
		}
	}
	return found
}
