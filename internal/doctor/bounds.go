package doctor

import "time"

// Bounds say from where on something is too much.
type Bounds struct {
	// Clock is how far the clocks of the database and of this machine may differ. Tokens are judged to 5 s.
	Clock time.Duration
	// Parked is how long a user may be parked: what waits for another row solves itself within minutes.
	Parked time.Duration
	// Refused is for how long a receiver of notifications may refuse them, and Backlog how many may wait.
	Refused time.Duration
	Backlog int64
	// Outbox is how long a captured change may wait.
	Outbox time.Duration
	// Checked is how old the nightly check of the targets may be.
	Checked time.Duration
	// Silent is how long a source that sent something each day may send nothing, and a secret verify nothing.
	Silent time.Duration
	// Unverified is the share of a day's requests, of at least Requests, that may not verify.
	Unverified float64
	Requests   int64
	// Unindexed is from which size in bytes on a table should not be read for each deleted row.
	Unindexed int64
	// EventsBytes is the size of rollcall.events, and EventsDead the share of dead rows of at least EventsRows.
	EventsBytes int64
	EventsDead  float64
	EventsRows  int64
	// Condition is how long the condition about a sign-up may take: half of what it gets.
	Condition time.Duration
	// Free is how many connections the server should have left.
	Free int
}

// Defaults are the bounds unless others are given.
var Defaults = Bounds{
	Clock: 2 * time.Second, Parked: time.Hour, Refused: time.Hour, Backlog: 10_000, Outbox: 30 * time.Second, Checked: 50 * time.Hour,
	Silent: 3 * 24 * time.Hour, Unverified: 0.1, Requests: 20,
	Condition: 200 * time.Millisecond, Unindexed: 8 << 20, EventsBytes: 20 << 30, EventsDead: 0.5, EventsRows: 100_000, Free: 3,
}

func (b Bounds) orDefaults() Bounds {
	if b == (Bounds{}) {
		return Defaults
	}
	return b
}
