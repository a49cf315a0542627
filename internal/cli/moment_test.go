package cli

import (
	"testing"
	"time"

	"rollcall/internal/must"
)

func TestMoment(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 11, 21, 3, 0, 0, 0, time.UTC)
	moment := func(value string) string {
		at, err := Moment("since", value, now)
		if err != nil {
			return err.Error()
		}
		return at.Format(time.RFC3339Nano)
	}
	const hint = " is no moment; write one such as 2026-11-21T03:00:00Z or 2026-11-21, or how long ago: 2h, 7d"
	must.Table(t, moment, map[string]string{
		"2026-11-20T03:00:00+02:00":   "2026-11-20T01:00:00Z",
		"2026-11-20T03:00:00.123456Z": "2026-11-20T03:00:00.123456Z",
		"2026-11-20":                  "2026-11-20T00:00:00Z",
		"90m":                         "2026-11-21T01:30:00Z",
		"1d12h":                       "2026-11-19T15:00:00Z",
		"-2h":                         `--since: "-2h"` + hint,
		"0001-01-01":                  `--since: "0001-01-01"` + hint, // Go's zero time, which means no bound
		"yesterday":                   `--since: "yesterday"` + hint,
		"":                            `--since: ""` + hint,
	})
}
