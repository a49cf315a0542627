package roll

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"rollcall/internal/event"
	"rollcall/internal/postgres/settle"
)

// Name names a row of a roll: a user or an organisation by its id, a membership by the organisation's and the
// user's.
type Name struct {
	Roll       *event.Roll
	Source, ID string
	User       string // of a membership, else empty
}

// Member is one row of a roll at a moment.
type Member struct {
	Known   bool // living, or a tombstone
	Deleted bool
	// ID is the row's own, "" unless it is known.
	ID string
	// Version is the provider's own updated_at, in microseconds since 1970 UTC.
	Version int64
	// Age is how long ago the roll learned this state.
	Age time.Duration
	// Record is the record new as a JSON object; nil unless the row is living.
	Record json.RawMessage
	// Targets says of each target that follows the roll and the source whether it is up to date
	// (event.Applied) or gets the row later (event.Parked). Empty unless the row is living.
	Targets map[string]event.Outcome
	// At is the moment this was so, by the database's clock.
	At time.Time
}

// Living reports whether the roll has the row, and not as a tombstone.
func (m *Member) Living() bool { return m.Known && !m.Deleted }

// members are the statements that look for a row of each roll. Several memberships may stand for one pair, one
// after the other: the latest of those alive counts, else the latest.
var members = map[*event.Roll]string{
	&event.Organizations: memberStatement(&event.Organizations, "u.id = $2"),
	&event.Users:         memberStatement(&event.Users, "u.id = $2"),
	&event.Memberships: memberStatement(&event.Memberships,
		`u.organization_id = $2 and u.user_id = $3 order by u.deleted_at is not null, u.created_at desc nulls last, u.id limit 1`),
}

func memberStatement(r *event.Roll, named string) string {
	return settle.On(r, fmt.Sprintf(memberSQL, "u."+strings.Join(r.Columns(), ", u."), named))
}

// Member looks for a row. That there is none is no error.
func (r *Roll) Member(ctx context.Context, name Name) (Member, error) {
	args := []any{name.Source, name.ID}
	if name.Roll == &event.Memberships {
		args = append(args, name.User)
	}
	var m Member
	var age *time.Duration
	var record *string
	var parked []string
	err := r.targets.Pool.QueryRow(ctx, members[name.Roll], args...).
		Scan(&m.At, &m.Known, &m.ID, &m.Deleted, &m.Version, &age, &record, &parked)
	if err != nil {
		return Member{}, fmt.Errorf("look for a row in the roll of %s: %w", name.Roll.Name, r.targets.Pool.Explain(err))
	}
	m.Age = orZero(age)
	if !m.Living() {
		return m, nil
	}
	m.Record, m.Targets = json.RawMessage(orZero(record)), map[string]event.Outcome{}
	for i := range r.targets.Configured() {
		t := &r.targets.Configured()[i]
		if event.RollNamed(t.Roll) != name.Roll || !t.Follows(name.Source) {
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
