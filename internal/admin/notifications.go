package admin

import (
	"context"
	"errors"
	"fmt"

	"rollcall/internal/postgres/auditlog"
	"rollcall/internal/postgres/transitions"
)

// Notifications are what applications are told of users.
type Notifications struct {
	Summaries []transitions.Summary      `json:"summaries" doc:"of all that are kept, by name"`
	Newest    []transitions.Notification `json:"notifications" doc:"those that were asked for, the newest first"`
}

// Notifications are the newest of a choice, n at most, and how many there are of each name.
func (o *Operator) Notifications(ctx context.Context, f transitions.Filter, n int) (Notifications, error) {
	log := o.DB.Transitions()
	list, err := log.List(ctx, f, n)
	if err != nil {
		return Notifications{}, ofID(f, err)
	}
	summaries, err := log.Summaries(ctx)
	return Notifications{append([]transitions.Summary{}, summaries...), append([]transitions.Notification{}, list...)}, err
}

// RetryNotifications makes failed ones of a choice due again, and returns how many.
func (o *Operator) RetryNotifications(ctx context.Context, by string, f transitions.Filter) (int64, error) {
	n, err := o.DB.Transitions().Retry(ctx, f)
	if err == nil && n > 0 {
		o.note(ctx, auditlog.Entry{Who: by, Action: "retry notifications", Object: f.Name + f.ID, Result: fmt.Sprint(n, " notifications")})
	}
	return n, ofID(f, err)
}

// ofID says which field has no id.
func ofID(f transitions.Filter, err error) error {
	if errors.Is(err, transitions.ErrUnknown) {
		return &MisfitError{"id", f.ID, "this is no id of a notification; one is msg_ and 32 hex digits"}
	}
	return err
}
