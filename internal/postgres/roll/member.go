package roll

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"rollcall/internal/event"
)

// Member is one user as the roll has them at a moment.
type Member struct {
	Known   bool // living, or a tombstone
	Deleted bool
	// Version is the provider's own updated_at, in microseconds since 1970 UTC.
	Version int64
	// Age is how long ago the roll learned this state.
	Age time.Duration
	// User is the record new as a JSON object; nil unless they are living.
	User json.RawMessage
	// Targets says of each target that follows the source whether it is up to date with
	// the roll (event.Applied) or gets them later (event.Parked). Empty unless they are living.
	Targets map[string]event.Outcome
	// At is the moment this was so, by the database's clock.
	At time.Time
}

var member = fmt.Sprintf(memberSQL, "u."+strings.Join(event.Users.Columns(), ", u."))

// Member looks for a user in the roll. That nobody has the id is no error.
func (r *Roll) Member(ctx context.Context, source, id string) (Member, error) {
	var m Member
	var age *time.Duration
	var user *string
	var parked []string
	err := r.targets.Pool.QueryRow(ctx, member, source, id).Scan(&m.At, &m.Known, &m.Deleted, &m.Version, &age, &user, &parked)
	if err != nil {
		return Member{}, fmt.Errorf("look for a user in the roll: %w", r.targets.Pool.Explain(err))
	}
	m.Age = orZero(age)
	if !m.Known || m.Deleted {
		return m, nil
	}
	m.User, m.Targets = json.RawMessage(orZero(user)), map[string]event.Outcome{}
	for i := range r.targets.Configured {
		t := &r.targets.Configured[i]
		if !t.Follows(source) {
			continue
		}
		m.Targets[t.Name] = event.Applied
		if slices.Contains(parked, t.Name) {
			m.Targets[t.Name] = event.Parked
		}
	}
	return m, nil
}

// orZero is the value of a column that is null for a tombstone, and in a row made by hand.
func orZero[T any](value *T) (zero T) {
	if value == nil {
		return zero
	}
	return *value
}
