package postgres

import (
	"context"
	"slices"

	"rollcall/sql"
)

// park notes the refused users, deletes the notes about all others, and commits.
func (s *separation) park(ctx context.Context, refused []refusal) error {
	s.done.parked = map[userKey]bool{}
	type entry struct {
		target string
		user   userKey
	}
	byEntry := map[entry]refusal{}
	for _, r := range refused {
		byEntry[entry{r.target, r.user}] = r
		s.done.parked[r.user] = true
	}
	var steps []step
	for _, t := range s.targets {
		settled := slices.DeleteFunc(slices.Clone(s.users), func(u userKey) bool {
			_, ok := byEntry[entry{t.Name, u}]
			return ok
		})
		sources, ids := keyArrays(settled)
		steps = append(steps, step{kind: parking, sql: sql.Clear, args: []any{sources, ids, true, []string{t.Name}}})
	}
	var target, source, id, state, message []string
	var pause []int
	for _, r := range byEntry {
		if r.outage && s.work.purpose == retryParked {
			continue // the user is parked already, and was not tried
		}
		target, source, id = append(target, r.target), append(source, r.user.source), append(id, r.user.id)
		state, message, pause = append(state, r.state), append(message, r.message), append(pause, r.pause)
	}
	steps = append(steps, step{kind: parking, sql: sql.Park, args: []any{
		target, source, id, state, message, pause, s.work.purpose == retryParked, s.db.config.Attempts,
	}})
	if s.work.batch != nil {
		steps = append(steps, s.work.markParked(s.done.parked))
	}
	return run(ctx, s.conn, append(steps, end()), &s.done)
}
