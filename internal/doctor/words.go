package doctor

import (
	"fmt"
	"time"
)

// moment is a time as findings say it.
func moment(t time.Time) string { return t.UTC().Format(time.RFC3339) }

// since is moment for what may never have been.
func since(t time.Time) string {
	if t.Unix() <= 0 {
		return "never"
	}
	return "at " + moment(t)
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// size is a number of bytes for people.
func size(bytes int64) string {
	const unit = 1024
	value, units := float64(bytes), []string{"B", "KiB", "MiB", "GiB", "TiB"}
	for value >= unit && len(units) > 1 {
		value, units = value/unit, units[1:]
	}
	return fmt.Sprintf("%.3g %s", value, units[0])
}
