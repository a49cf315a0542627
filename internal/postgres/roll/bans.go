package roll

import (
	"context"
	"fmt"
	"time"

	"rollcall/internal/event"
	"rollcall/internal/postgres/settle"
)

// bansPage is how many bans one transaction ends, as many users as the largest batch.
const bansPage = 512

// BansOver reports whether the roll has users whose ban is over and who still are banned there:
// no provider sends an event when a ban ends by itself.
func (r *Roll) BansOver(ctx context.Context) (bool, error) {
	users, err := r.bansOver(ctx, 1)
	return len(users) > 0, err
}

func (r *Roll) bansOver(ctx context.Context, n int) ([]settle.Key, error) {
	rows, _ := r.targets.Pool.Query(ctx, bansOverSQL, n)
	users, err := settle.CollectKeys(rows, &event.Users)
	if err != nil {
		return nil, fmt.Errorf("look for bans that are over: %w", err)
	}
	return users, nil
}

// EndBans ends the bans that are over, in the roll and in every target, and returns how many.
// Two replicas may do it at once: the second finds nothing to change.
func (r *Roll) EndBans(ctx context.Context) (ended int, err error) {
	for {
		users, err := r.bansOver(ctx, bansPage)
		if err != nil || len(users) == 0 {
			return ended, err
		}
		if _, err := r.targets.Commit(ctx, endBansWork(users)); err != nil {
			return ended, fmt.Errorf("end %d bans: %w", len(users), err)
		}
		ended += len(users)
	}
}

func endBansWork(users []settle.Key) *settle.Work { return settle.LockWork(users, endBansSQL) }

// withoutPastBans frees users of bans that are over by now: an event is read when it arrives, and
// may be applied much later, by a replay for instance.
func withoutPastBans(events []event.Event, now time.Time) []event.Event {
	for i := range events {
		if u := events[i].User; u != nil && u.BanOver(now) {
			free := *u
			free.Banned = false
			events[i].User = &free
		}
	}
	return events
}
