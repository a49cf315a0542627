package cli

import (
	"time"

	"rollcall/internal/config"
)

// Moment reads the value of a flag that names a moment: RFC 3339, a day, or a duration before now.
func Moment(flag, value string, now time.Time) (time.Time, error) {
	for _, layout := range []string{time.RFC3339, time.DateOnly} {
		if at, err := time.Parse(layout, value); err == nil {
			return at.UTC(), nil
		}
	}
	before, err := config.Duration(value)
	if err != nil {
		return time.Time{}, Usagef("--%s: %q is no moment; write one such as 2026-11-21T03:00:00Z or 2026-11-21, or how long ago: 2h, 7d", flag, value)
	}
	return now.Add(-before).UTC(), nil
}
