package admin

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"rollcall/internal/doctor"
	"rollcall/internal/postgres"
	"rollcall/internal/postgres/audit"
	"rollcall/internal/postgres/auditlog"
	"rollcall/internal/postgres/claims"
	"rollcall/internal/postgres/connection"
	"rollcall/internal/postgres/survey"
	"rollcall/internal/postgres/tasks"
	"rollcall/internal/postgres/watch"
	"rollcall/internal/replay"
	"rollcall/internal/trial"
)

// Operator is what operators see and change. The admin API and the console call it; each change is noted in
// rollcall.audit_log with the name of the token's holder.
type Operator struct {
	DB   *postgres.DB
	Pool *connection.Pool
	// Sources are the names of all that are configured.
	Sources func() []string
	// Admissions are the rules about sign-ups of those sources that have some.
	Admissions func() []AdmissionRules
	// Ready says why nothing can be committed at the moment; nil when it can.
	Ready func(context.Context) error
	Tasks *tasks.List
	// Claims let a change that comes twice be made once.
	Claims claims.Claims
	// Replay replays events by the path of a webhook.
	Replay func() replay.Replay
	// Trial sends samples to this replica.
	Trial func() trial.Trial
	// Reload reads the configuration anew, or changes nothing and says why; it notes itself.
	Reload func(ctx context.Context, who string) (Reloaded, error)
	// Installation is what rollcall status reads, without an examination.
	Installation func(context.Context) *doctor.Status
	// Findings are those of the last examination.
	Findings func() *doctor.Diagnosis
	// Version is that of the program.
	Version string
	Log     *slog.Logger
}

// Reloaded is what a reload has changed.
type Reloaded struct {
	// Configuration is the hash that rollcall.replicas has.
	Configuration string       `json:"configuration"`
	Targets       watch.Change `json:"targets"`
	// Unfilled are targets that lack users from before them; rollcall backfill fills one.
	Unfilled []string `json:"unfilled"`
}

// MisfitError says what does not fit in a request: the caller's mistake.
type MisfitError struct {
	Field   string // of the request's body
	Value   any
	Message string
}

// Error implements error.
func (e *MisfitError) Error() string { return fmt.Sprintf("%s: %s", e.Field, e.Message) }

// note notes a change in the audit log. The change has happened: that it can't be noted is for the log.
func (o *Operator) note(ctx context.Context, e auditlog.Entry) {
	if err := auditlog.Note(ctx, o.Pool, e); err != nil {
		o.Log.Error("a change of an operator is not in rollcall.audit_log", "who", e.Who, "action", e.Action, "object", e.Object, "error", err)
	}
}

// Status is what a replica and the installation do.
type Status struct {
	Version string                `json:"version"`
	Ready   bool                  `json:"ready"`
	Sources []doctor.SourceStatus `json:"sources"`
	// Admissions are the rules about who may sign up, of the sources that have some.
	Admissions      []AdmissionRules    `json:"admissions"`
	Targets         []TargetStatus      `json:"targets"`
	Queue           doctor.Queue        `json:"queue"`
	Reconciliations []doctor.Reconciled `json:"reconciliations" doc:"the last of each source"`
	Replicas        []survey.Replica    `json:"replicas"`
	// Unseen is what could not be read.
	Unseen []doctor.Unseen `json:"unseen"`
	// Findings are what the last examination has found wrong.
	Findings []doctor.Finding `json:"findings"`
}

// AdmissionRules are the rules of a source about who may sign up.
type AdmissionRules struct {
	Source          string   `json:"source"`
	Rules           []string `json:"rules" doc:"in the order in which they are asked: deny_domains, deny_domains_file, allow_domains, require"`
	WhenUnavailable string   `json:"when_unavailable" enum:"admit,refuse" doc:"what an outage does"`
}

// TargetStatus is how a target is doing.
type TargetStatus struct {
	Name   string `json:"name"`
	Table  string `json:"table"`
	State  string `json:"state" enum:"ok,out of service"`
	Error  string `json:"error,omitempty" doc:"why it is out of service"`
	Parked int    `json:"parked" doc:"rows of the roll that it refuses"`
}

// Status says what the replica and the installation do.
func (o *Operator) Status(ctx context.Context) Status {
	s := o.Installation(ctx)
	return Status{
		Version: o.Version, Ready: o.Ready(ctx) == nil, Sources: s.Sources, Admissions: append([]AdmissionRules{}, o.Admissions()...), Targets: o.targetStates(ctx), Queue: s.Queue,
		Reconciliations: s.Reconciled, Replicas: s.Replicas, Unseen: s.Unseen, Findings: append([]doctor.Finding{}, o.Findings().Findings...),
	}
}

// targetStates are known without the database; what is parked is not.
func (o *Operator) targetStates(ctx context.Context) []TargetStatus {
	parked, err := o.DB.Parked().Count(ctx)
	if err != nil {
		o.Log.Warn("the parked users can't be counted: no metric or status has them until the database answers", "error", err)
	}
	list := []TargetStatus{}
	for _, t := range o.DB.Targets().States() {
		state := "ok"
		if t.Outage != "" {
			state = "out of service"
		}
		list = append(list, TargetStatus{t.Name, t.Table, state, t.Outage, parked[t.Name]})
	}
	return list
}

// Target is a target with what is done for it.
type Target struct {
	TargetStatus

	Roll       string     `json:"roll" enum:"users,organizations,memberships"`
	Statements []string   `json:"statements" doc:"the compiled SQL; empty while it is out of service"`
	Checked    *LastCheck `json:"checked,omitempty" doc:"what the last check has counted"`
}

// LastCheck is what the last check has counted for a target.
type LastCheck struct {
	At   time.Time             `json:"at"`
	Rows map[audit.State]int64 `json:"rows" doc:"by state: present, missing, extra, different, parked, …"`
}

// Targets are those of the configuration, in the order of settling.
func (o *Operator) Targets(ctx context.Context) ([]Target, error) {
	checked, err := o.DB.Audit().Checked(ctx)
	if err != nil {
		return nil, err
	}
	list := []Target{}
	for _, s := range o.targetStates(ctx) {
		t := Target{TargetStatus: s, Statements: o.DB.Targets().Statements(s.Name)}
		if c := o.DB.Targets().Named(s.Name); c != nil {
			t.Roll = c.Roll.Name
		}
		if c := checked[s.Name]; !c.At.IsZero() {
			t.Checked = &LastCheck{c.At, c.Users}
		}
		list = append(list, t)
	}
	return list, nil
}

// The kinds of tasks, named as the commands are.
const (
	Check     = "check"
	Backfill  = "backfill"
	Reconcile = "reconcile"
	Retry     = "retry"  // of parked rows
	Replay    = "replay" // of a choice of events
)

// TaskRequest asks for long work.
type TaskRequest struct {
	Kind    string       `json:"kind" enum:"check,backfill,reconcile,retry,replay"`
	Subject string       `json:"subject,omitempty" doc:"backfill and retry: the target; reconcile: the source; check and replay: empty"`
	Repair  bool         `json:"repair,omitempty" doc:"check: settle who is out of step, then count again"`
	IDs     []string     `json:"ids,omitempty" doc:"retry: rows, or users whose memberships they are; all of the target without"`
	Events  *EventChoice `json:"events,omitempty" doc:"replay: which events; since is required"`
}

// CheckOptions are those of a check.
type CheckOptions struct {
	Repair bool `json:"repair"`
}

// RetryOptions are those of a retry.
type RetryOptions struct {
	IDs []string `json:"ids,omitempty"`
}

// options are what the work of a request reads; nil for none.
func (r *TaskRequest) options() any {
	switch r.Kind {
	case Check:
		return CheckOptions{r.Repair}
	case Retry:
		return RetryOptions{r.IDs}
	case Replay:
		if r.Events.Until.IsZero() { // events that arrive meanwhile do not count
			r.Events.Until = time.Now()
		}
		return r.Events
	}
	return nil
}

// Begin begins long work. Its error is a MisfitError where the request does not fit the configuration.
func (o *Operator) Begin(ctx context.Context, by string, r TaskRequest) (tasks.Task, error) {
	if err := o.misfit(r); err != nil {
		return tasks.Task{}, err
	}
	t, err := o.Tasks.Request(ctx, tasks.Request{Kind: r.Kind, Subject: r.Subject, By: by, Options: r.options()})
	if err == nil {
		o.note(ctx, auditlog.Entry{Who: by, Action: r.Kind, Object: strings.Join(append([]string{r.Subject}, r.IDs...), " "), Result: fmt.Sprint("task ", t.ID)})
	}
	return t, err
}

// Stop tells a task to stop; tasks.ErrUnknown.
func (o *Operator) Stop(ctx context.Context, by string, id int64) (tasks.Task, error) {
	t, err := o.Tasks.Stop(ctx, id)
	if err == nil {
		o.note(ctx, auditlog.Entry{Who: by, Action: "stop", Object: fmt.Sprint("task ", id), Result: t.State})
	}
	return t, err
}

func (o *Operator) misfit(r TaskRequest) error {
	var names []string
	switch r.Kind {
	case Check:
		names = []string{""}
	case Backfill, Retry:
		for _, s := range o.DB.Targets().States() {
			names = append(names, s.Name)
		}
	case Reconcile:
		names = o.Sources()
	case Replay:
		names = []string{""}
		if r.Events == nil || r.Events.Since.IsZero() {
			return &MisfitError{"events.since", nil, "say from which moment on events are to be replayed"}
		}
	}
	if slices.Contains(names, r.Subject) {
		return nil
	}
	return &MisfitError{"subject", r.Subject, "expected one of the configuration: " + strings.Join(names, ", ")}
}
