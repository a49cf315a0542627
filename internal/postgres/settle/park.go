package settle

import (
	"context"
	"slices"
)

// park notes the refused users, deletes the notes about all others, and commits.
func (s *separation) park(ctx context.Context, refused []Refusal) (parked map[Key]bool, err error) {
	parked = map[Key]bool{}
	type entry struct {
		target string
		user   Key
	}
	byEntry := map[entry]Refusal{}
	for _, r := range refused {
		byEntry[entry{r.target, r.User}] = r
		parked[r.User] = true
	}
	var steps []Step
	for _, t := range s.targets {
		settled := slices.DeleteFunc(slices.Clone(s.users), func(u Key) bool {
			_, ok := byEntry[entry{t.Name, u}]
			return ok
		})
		sources, ids := KeyArrays(settled)
		steps = append(steps, Step{Kind: Parking, SQL: clearSQL, Args: []any{sources, ids, true, []string{t.Name}}})
	}
	var target, source, id, state, message []string
	var pause []int
	for _, r := range byEntry {
		if r.outage && s.work.Purpose == retryParked {
			continue // the user is parked already, and was not tried
		}
		target, source, id = append(target, r.target), append(source, r.User.Source), append(id, r.User.ID)
		state, message, pause = append(state, r.state), append(message, r.message), append(pause, r.pause)
	}
	steps = append(steps, Step{Kind: Parking, SQL: parkSQL, Args: []any{
		target, source, id, state, message, pause, s.work.Purpose == retryParked, s.all.Attempts,
	}})
	if s.work.MarkParked != nil {
		steps = append(steps, s.work.MarkParked(parked, s.work.locked()))
	}
	return parked, Run(ctx, s.conn, append(steps, End()))
}
