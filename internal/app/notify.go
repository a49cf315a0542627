package app

import (
	"context"
	"fmt"

	"rollcall/internal/config"
	"rollcall/internal/notify"
	"rollcall/internal/postgres/jobs"
	"rollcall/internal/postgres/transitions"
)

// rules are what the notifications of a configuration want to be noted.
func (s *Setup) rules() []transitions.Rule {
	var list []transitions.Rule
	for _, n := range s.Config.Notify {
		r := transitions.Rule{Name: n.Name, On: n.On}
		for _, o := range n.From {
			r.From = append(r.From, o.Source)
		}
		list = append(list, r)
	}
	return list
}

// query is what a notification asks for.
func query(n config.Notification) transitions.Query {
	q := transitions.Query{Name: n.Name, Payload: n.Payload}
	if n.Where != nil {
		q.Where = n.Where.SQL
	}
	return q
}

// notifiers say the notifications of a configuration.
func (sv *service) notifiers(s *Setup) ([]*notify.Notifier, error) {
	var list []*notify.Notifier
	for _, c := range s.Config.Notify {
		cfg := notify.Config{Query: query(c), Channel: c.Channel, Log: sv.log, Observe: func(name, outcome string) {
			sv.server.ObserveNotification(name, outcome)
		}}
		if c.Webhook != nil {
			cfg.URL, cfg.Secrets, cfg.AllowPrivate = c.Webhook.URL.Reveal(), reveal(c.Webhook.Secrets), c.Webhook.AllowPrivate
		}
		n, err := notify.New(cfg)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", c.Pos, err)
		}
		list = append(list, n)
	}
	return list, nil
}

// notifyJob is the name of the job that says the notifications of a name, wanted once some are due.
func notifyJob(name string) string { return "notify " + name }

func (sv *service) notifyJobs(list []*notify.Notifier) []jobs.Job {
	var all []jobs.Job
	for _, n := range list {
		all = append(all, jobs.Job{
			Name: notifyJob(n.Name), Timeout: notify.Timeout, Queue: jobs.Waiting,
			Run: func(ctx context.Context) error { return n.Run(ctx, sv.db.Transitions()) },
		})
	}
	return all
}

// dueNotifications are the jobs of those with something to say.
func (sv *service) dueNotifications(ctx context.Context) ([]string, error) {
	due, err := sv.db.Transitions().DueNames(ctx, notificationNames(sv.setup()))
	for i, name := range due {
		due[i] = notifyJob(name)
	}
	return due, err
}

func notificationNames(s *Setup) []string {
	var list []string
	for _, n := range s.Config.Notify {
		list = append(list, n.Name)
	}
	return list
}

// register has noted what the notifications of a configuration want. This replica must be known to live, or another
// one forgets it.
func (sv *service) register(ctx context.Context, s *Setup) error {
	if _, err := sv.replica.Note(ctx); err != nil {
		return err
	}
	return sv.db.Transitions().Register(ctx, sv.replica.Name(), s.rules())
}

// registerAgain is for a replica that was cut off for so long that another one may have taken it for gone.
func (sv *service) registerAgain(ctx context.Context) error {
	if !sv.reloading.TryLock() {
		return nil // a reload registers
	}
	defer sv.reloading.Unlock()
	err := sv.db.Transitions().Register(ctx, sv.replica.Name(), sv.setup().rules())
	if err != nil && ctx.Err() == nil {
		sv.log.Warn("what notifications want can't be noted; Rollcall tries again", "error", err)
	}
	return err
}

// tidyRules forgets what replicas that are gone wanted.
func (sv *service) tidyRules(ctx context.Context) {
	if err := sv.db.Transitions().Tidy(ctx, jobs.ReplicaAge); err != nil && ctx.Err() == nil {
		sv.log.Debug("rules of replicas that are gone are left until later", "error", err)
	}
}

// sayUnreadable logs which notifications have an expression that PostgreSQL can't read.
func (sv *service) sayUnreadable(ctx context.Context, s *Setup) {
	for _, n := range s.Config.Notify {
		if n.Where == nil {
			continue
		}
		if err := sv.db.Transitions().Check(ctx, query(n)); err != nil && ctx.Err() == nil {
			sv.log.Error("a notification fails until its where is corrected", "notification", n.Name, "at", n.Where.At, "error", err)
		}
	}
}
