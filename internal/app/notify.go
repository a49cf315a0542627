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
		q := query(n)
		list = append(list, transitions.Rule{Name: q.Name, On: q.On, From: q.From})
	}
	return list
}

// query is what a notification asks for.
func query(n config.Notification) transitions.Query {
	q := transitions.Query{Name: n.Name, On: n.On, Payload: n.Payload}
	for _, o := range n.From {
		q.From = append(q.From, o.Source)
	}
	if n.Where != nil {
		q.Where = n.Where.SQL
	}
	return q
}

// notifiers say the notifications of a configuration.
func (sv *service) notifiers(s *Setup) ([]*notify.Notifier, error) {
	var list []*notify.Notifier
	observe := func(name, outcome string) { sv.server.ObserveNotification(name, outcome) } // the server is made later
	for _, c := range s.Config.Notify {
		cfg := notify.Config{Query: query(c), Channel: c.Channel, Log: sv.log, Observe: observe}
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

// register has noted what notifications want. This replica must be known to live, or another one forgets it.
func (sv *service) register(ctx context.Context, rules []transitions.Rule) error {
	if _, err := sv.replica.Note(ctx); err != nil {
		return err
	}
	return sv.db.Transitions().Register(ctx, sv.replica.Name(), rules)
}

// registerAgain is for a replica whose rules may be other ones than its configuration's: another replica has taken it
// for gone, or a reload has failed. While a reload is under way the next note of this replica does it.
func (sv *service) registerAgain(ctx context.Context) {
	if !sv.reloading.TryLock() {
		return
	}
	defer sv.reloading.Unlock()
	sv.registerOwn(ctx)
}

// registerOwn registers the rules of the configuration in service, which no reload may exchange meanwhile.
func (sv *service) registerOwn(ctx context.Context) {
	err := sv.register(ctx, sv.setup().rules())
	sv.unregistered.Store(err != nil)
	if err != nil && ctx.Err() == nil {
		sv.log.Warn("what notifications want can't be noted; Rollcall tries again", "error", err)
	}
}

// tidyRules forgets what replicas that are gone wanted.
func (sv *service) tidyRules(ctx context.Context) {
	if err := sv.db.Transitions().Tidy(ctx, jobs.ReplicaAge); err != nil && ctx.Err() == nil {
		sv.log.Debug("rules of replicas that are gone are left until later", "error", err)
	}
}

// boundNotifications gives up what waits for too long, or is too much, also of a receiver that wants a pause.
func (sv *service) boundNotifications(ctx context.Context) {
	if len(sv.setup().Config.Notify) == 0 {
		return
	}
	if err := notify.Bound(ctx, sv.db.Transitions(), sv.server.ObserveNotification, sv.log); err != nil && ctx.Err() == nil {
		sv.log.Warn("the notifications that wait can't be bounded; Rollcall tries again", "error", err)
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
