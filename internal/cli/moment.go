package cli

import (
	"time"

	"rollcall/internal/config"
)

// Moment reads the value of a flag that names a moment, as config.Moment does.
func Moment(flag, value string, now time.Time) (time.Time, error) {
	at, err := config.Moment(value, now)
	if err != nil {
		return at, Usagef("--%s: %w", flag, err)
	}
	return at, nil
}
