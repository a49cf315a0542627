package source

import (
	"strings"
	"time"

	"rollcall/internal/rawjson"
)

// latest stands for every later time, and for PostgreSQL's infinity: beyond it
// PostgreSQL's range and the four digits of a year end in different places.
var latest = time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC)

// earliest ends the year 1. Go's zero time, which Supabase Auth sends for "never", lies
// before it, and so does nothing that a provider could mean.
var earliest = time.Date(2, 1, 1, 0, 0, 0, 0, time.UTC)

// bound returns the time in UTC and in PostgreSQL's reach; the zero time is absent.
func bound(t time.Time) time.Time {
	switch t = t.UTC(); {
	case t.Before(earliest):
		return time.Time{}
	case t.After(latest):
		return latest
	}
	return t
}

// layouts are what the providers send first, and then the further forms in which
// PostgreSQL spells a timestamp: offsets with seconds or without minutes, a blank for
// the T, no offset at all.
var layouts = []string{
	time.RFC3339Nano,
	"2006-01-02T15:04:05Z07:00:00",
	"2006-01-02T15:04:05Z07",
	"2006-01-02T15:04:05",
	"2006-01-02 15:04:05Z07:00:00",
	"2006-01-02 15:04:05Z07:00",
	"2006-01-02 15:04:05Z07",
}

// timeOf reads a timestamp written as text; the zero time when there is none that the
// roll could hold. It is false for what is no timestamp, nor absent.
func timeOf(value []byte) (time.Time, bool) {
	// No real one is longer; a parser's error would copy a hostile one.
	if rawjson.Kind(value) != '"' || len(value) > 64 {
		return time.Time{}, len(value) == 0 || rawjson.Kind(value) == 'n'
	}
	s := rawjson.Text(value)
	t := parseTime(s)
	return t, !t.IsZero() || s == "" || longAgo(s)
}

// longAgo reports whether a timestamp is of the year 1, Supabase Auth's "never", or before.
func longAgo(s string) bool {
	return s == "-infinity" || strings.HasSuffix(s, " BC") ||
		strings.HasPrefix(s, "0001-") || strings.HasPrefix(s, "0000-")
}

func parseTime(s string) time.Time {
	if s == "infinity" {
		return latest
	}
	if dash := strings.IndexByte(s, '-'); dash > 4 && digits(s[:dash]) {
		// A year of five digits: any leap year tells whether the rest is a timestamp.
		if parseTime("2000" + s[dash:]).IsZero() {
			return time.Time{}
		}
		return latest
	}
	// Providers store microseconds and cut off the rest, in hooks they send nanoseconds.
	for _, layout := range layouts {
		if t, err := time.Parse(layout, s); err == nil {
			return bound(t.Truncate(time.Microsecond))
		}
	}
	return time.Time{}
}

func digits(s string) bool {
	return strings.Trim(s, "0123456789") == ""
}

// millisOf reads a timestamp in milliseconds; the zero time when absent or absurd. It is false
// for an absurd one. A time after the year 9999 is absurd too: as the last time that the roll can hold it
// would be a version that no later one could follow.
func millisOf(value []byte) (time.Time, bool) {
	millis, ok := rawjson.Integer(value)
	if !ok || millis > latest.UnixMilli() {
		return time.Time{}, len(value) == 0 || rawjson.Kind(value) == 'n'
	}
	t := bound(time.UnixMilli(millis))
	return t, !t.IsZero()
}

// versionOf is timeOf for updated_at. It is false also for the last time that the roll can hold: no later
// version of the user could follow it.
func versionOf(value []byte) (time.Time, bool) {
	t, ok := timeOf(value)
	return t, ok && !t.Equal(latest)
}

// envelopeTime reads the time of a Clerk event, which is milliseconds in deliveries
// and seconds in the published examples. Below 1e11 it is seconds: as milliseconds
// that would be before 1973.
func envelopeTime(value []byte) time.Time {
	const inMillis = 1e11
	stamp, ok := rawjson.Integer(value)
	if !ok || stamp <= 0 {
		return time.Time{}
	}
	if stamp < inMillis {
		stamp *= 1000
	}
	if stamp > latest.UnixMilli() {
		return time.Time{}
	}
	return time.UnixMilli(stamp).UTC()
}
