package doctor

import (
	"context"
	"fmt"
	"slices"

	"rollcall/internal/config"
	"rollcall/internal/postgres/jobs"
	"rollcall/internal/postgres/survey"
)

// notifications finds receivers that refuse, and notifications that wait or have failed.
func (e *examination) notifications(ctx context.Context) error {
	list, err := e.survey.Notifications(ctx, jobs.ReplicaAge)
	for i := range list {
		n := &list[i]
		at := slices.IndexFunc(e.File.Notify, func(c config.Notification) bool { return c.Name == n.Name })
		if at < 0 {
			e.unowned(n)
			continue
		}
		e.notification(n, &e.File.Notify[at])
	}
	return err
}

func (e *examination) notification(n *survey.Notification, c *config.Notification) {
	at, show := e.at("notify", n.Name), command("rollcall notifications %s", n.Name)
	switch {
	case n.Private && c.Webhook != nil && !c.Webhook.AllowPrivate:
		e.add(notificationPrivate, at, fmt.Sprintf("notification %s: its receiver has an address that is not public, and gets nothing; if it is one of "+
			"your own network, allow it", n.Name), yaml("notify:\n  "+n.Name+":\n    webhook:\n      allow_private: true"))
	case !n.Refused.IsZero() && e.Now().Sub(n.Refused) > e.Bounds.Refused:
		e.add(notificationRefused, at, fmt.Sprintf("notification %s: one waits since %s and was tried in vain: %s", n.Name, moment(n.Refused), n.Error), show)
	}
	if n.Pending > e.Bounds.Backlog {
		e.add(notificationBacklog, at, fmt.Sprintf("notification %s: %d wait, the oldest since %s", n.Name, n.Pending, moment(n.Oldest)), show)
	}
	if n.Failed > 0 {
		e.add(notificationGivenUp, at, fmt.Sprintf("notification %s: %d have failed for good, the last one: %s", n.Name, n.Failed, n.LastError),
			command("rollcall notifications %s --failed", n.Name))
	}
}

// unowned is about a name that this configuration lacks; another replica may have it.
func (e *examination) unowned(n *survey.Notification) {
	if n.Pending > 0 && !n.Owned {
		e.add(notificationUnowned, "table rollcall.notifications", fmt.Sprintf("%d notifications of %s wait, and no running replica has it in its configuration",
			n.Pending, n.Name), sql("delete from rollcall.notifications where name = '%s'", n.Name))
	}
}
