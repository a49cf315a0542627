package reconcile

import (
	"context"
	"errors"
	"time"

	"github.com/google/uuid"

	"rollcall/internal/event"
	"rollcall/internal/postgres/directory"
	"rollcall/internal/source"
)

// Confirmed counts announcements by how they ended.
type Confirmed struct {
	Applied, Parked, Undecodable, NeverCreated int
}

// FirstLook is when an announced user is looked up for the first time: most are
// there by then.
const FirstLook = 2 * time.Second

// looks are how long after an announcement its user is looked up. A user who follows a link of
// the provider's is there within a minute, or does not come.
var looks = []time.Duration{FirstLook, 5 * time.Second, 15 * time.Second, time.Minute}

const (
	// announcedPage is how many are looked up at once.
	announcedPage = 500
	// announcedSlack is by how much the clocks of Rollcall and the provider may differ when
	// the user is not to be taken for an older one with the same address.
	announcedSlack = time.Minute
)

// answer says what becomes of an announcement after a look: found is the outcome of bringing
// its user into the roll, "" when they are not there. An announcement that stays one is looked up
// again at next; those between that a long pause has missed are left out.
func answer(received, at time.Time, found event.Outcome) (o event.Outcome, next time.Time) {
	switch found {
	case "":
		for _, after := range looks {
			if next := received.Add(after); next.After(at) {
				return event.Announced, next
			}
		}
		return event.NeverCreated, time.Time{}
	case event.Unavailable:
		return event.Announced, at // nothing was learned
	case event.Stale:
		return event.Applied, time.Time{} // the roll knows the user, and more
	default:
		return found, time.Time{}
	}
}

// Confirm looks up the announced users who are due, brings those into the roll who are there,
// and ends the announcements of those who never came. It fails with directory.ErrUnseen when
// the users can't all be seen; then it ends nothing.
func Confirm(ctx context.Context, cfg Config) (Confirmed, error) {
	var c Confirmed
	users, err := cfg.users(ctx)
	if err != nil {
		return c, err
	}
	for {
		list, err := cfg.DB.Directory().Announced(ctx, cfg.Source.Name(), FirstLook, announcedPage)
		if err != nil || len(list) == 0 {
			return c, err
		}
		answers, err := cfg.confirm(ctx, users, list)
		if err = errors.Join(err, cfg.DB.Directory().Answer(ctx, cfg.Source.Name(), answers)); err != nil {
			return c, err
		}
		c.count(answers)
	}
}

// confirm looks for those who were announced. With an error, what could be found out is
// answered all the same.
func (cfg Config) confirm(ctx context.Context, users *directory.Users, list []directory.Announcement) ([]directory.Answer, error) {
	sought := make([]directory.Sought, len(list))
	for i, a := range list {
		sought[i].Email, sought[i].Phone = source.Contact(a.Body)
		sought[i].Since = a.Received.Add(-announcedSlack)
		if id, err := uuid.Parse(a.UserID); err == nil { // otherwise the table can't have the user
			sought[i].ID = id.String()
		}
	}
	seen, err := users.Seek(ctx, sought)
	if err != nil {
		return nil, err
	}
	found, err := cfg.bring(ctx, seen)
	answers := make([]directory.Answer, len(list))
	for i, a := range list {
		answers[i].ID = a.ID
		answers[i].Outcome, answers[i].Next = answer(a.Received, seen[i].At, found[i])
	}
	return answers, err
}

// bring has the users read who were seen and returns the outcome of each, "" for those who were not.
func (cfg Config) bring(ctx context.Context, seen []directory.Seen) ([]event.Outcome, error) {
	found := make([]event.Outcome, len(seen))
	var events []event.Event
	var of []int
	for i, s := range seen {
		if s.ID != nil {
			events = append(events, cfg.look(*s.ID, s.At, "confirmed"))
			of = append(of, i)
		}
	}
	outcomes, err := cfg.Submit(ctx, events)
	for n, i := range of {
		found[i] = outcomes[n]
	}
	return found, err
}

func (c *Confirmed) count(answers []directory.Answer) {
	for _, a := range answers {
		switch a.Outcome {
		case event.Applied:
			c.Applied++
		case event.Parked:
			c.Parked++
		case event.UndecodableBody:
			c.Undecodable++
		case event.NeverCreated:
			c.NeverCreated++
		default: // looked up again
		}
	}
}
