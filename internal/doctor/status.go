package doctor

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"rollcall/internal/postgres/backfill"
	"rollcall/internal/postgres/directory"
	"rollcall/internal/postgres/jobs"
	"rollcall/internal/postgres/receipts"
	"rollcall/internal/postgres/survey"
	"rollcall/internal/postgres/tokens"
	"rollcall/internal/source"
	"rollcall/internal/target"
)

// Status is what an installation is doing, and what is wrong with it. What could not be read is empty, and the
// diagnosis says why.
type Status struct {
	Sources    []SourceStatus   `json:"sources"`
	Targets    []TargetStatus   `json:"targets"`
	Queue      Queue            `json:"queue"`
	Jobs       []survey.Job     `json:"jobs"`
	Reconciled []Reconciled     `json:"reconciliations"`
	Replicas   []survey.Replica `json:"replicas"`
	Diagnosis
}

// SourceStatus is how a source is doing.
type SourceStatus struct {
	Name     string `json:"name"`
	Provider string `json:"provider"`
	// Decides is what says what is so: table, or events.
	Decides string `json:"decides"`
	// LastEvent is when something of it last verified or was captured, as serve notes it every five seconds; nil
	// for never.
	LastEvent  *time.Time `json:"last_event"`
	AgeSeconds *float64   `json:"age_seconds"`
	// Capture is installed, missing, disabled, or "other source"; "" where there can be none.
	Capture string `json:"capture,omitempty"`
	Waiting int64  `json:"waiting"` // captured changes
	// Claims is how the function of access tokens is that adds the source's claims; "" without any.
	Claims string `json:"claims,omitempty" enum:"installed,outdated,missing" doc:"the function that adds the source's claims to access tokens: outdated is older than the configuration; absent without claims"`
}

// TargetStatus is how a target is doing.
type TargetStatus struct {
	Name  string `json:"name"`
	Table string `json:"table"`
	State string `json:"state"` // ok, or out of service
	Error string `json:"error,omitempty"`
	// Parked are the users that it refuses, GivenUp those of them that are no longer tried.
	Parked  int64 `json:"parked"`
	GivenUp int64 `json:"given_up"`
	// OutOfStep are the users that the last check has found so; nil before the first.
	OutOfStep *int64     `json:"out_of_step"`
	Checked   *time.Time `json:"checked"`
	Filled    bool       `json:"filled"` // has the users from before it
}

// Queue is what waits in the database. Events that wait in the memory of a replica are in its metrics.
type Queue struct {
	Captured      int64   `json:"captured"` // changes in the outboxes
	OldestSeconds float64 `json:"oldest_seconds"`
	Parked        int64   `json:"parked"`       // users, of all targets
	JobsWaiting   int64   `json:"jobs_waiting"` // runs
	JobsRunning   int64   `json:"jobs_running"`
}

// Reconciled is a source's last reconciliation that ended.
type Reconciled struct {
	Source  string               `json:"source"`
	Ended   *time.Time           `json:"ended"` // nil for never
	Success *time.Time           `json:"success"`
	Error   string               `json:"error,omitempty"`
	Users   directory.Reconciled `json:"users"`
}

// Look examines and reads the status.
func Look(ctx context.Context, cfg Config) *Status {
	e := start(cfg)
	e.examine(ctx)
	return read(ctx, e)
}

// Read reads the status, and examines nothing. A service that has begun knows that the database and its schema are there.
func Read(ctx context.Context, cfg Config) *Status { return read(ctx, start(cfg)) }

func read(ctx context.Context, e *examination) *Status {
	s := &status{examination: e, Status: Status{
		Sources: []SourceStatus{}, Targets: []TargetStatus{}, Jobs: []survey.Job{}, Reconciled: []Reconciled{}, Replicas: []survey.Replica{},
	}}
	for _, c := range []struct {
		name string
		do   func(context.Context) error
	}{
		{"status of the sources", s.sources}, {"status of the targets", s.targets}, {"status of the jobs", s.jobs},
		{"status of the reconciliations", s.reconciliations}, {"status of the replicas", s.replicas},
	} {
		e.run(ctx, check{c.name, func(_ *examination, ctx context.Context) error { return c.do(ctx) }})
	}
	s.Diagnosis = *e.found.sorted()
	return &s.Status
}

// Seen reports whether all that the status counts could be read.
func (s *Status) Seen() bool {
	return !slices.ContainsFunc(s.Unseen, func(u Unseen) bool { return strings.HasPrefix(u.Check, "status of ") })
}

// status is one that is being read.
type status struct {
	*examination
	Status
}

func (s *status) sources(ctx context.Context) error {
	all, err := receipts.Recent(ctx, s.DB.Pool())
	if err != nil {
		return err
	}
	last := map[string]time.Time{}
	for _, r := range all {
		if r.Secret != receipts.Unverified {
			last[r.Source] = later(last[r.Source], r.Last)
		}
	}
	for _, src := range s.Config.Sources {
		now := SourceStatus{Name: src.Name(), Provider: src.Provider(), Decides: "events", LastEvent: known(last[src.Name()])}
		if now.LastEvent != nil {
			age := max(0, s.Now().Sub(*now.LastEvent).Seconds())
			now.AgeSeconds = &age
		}
		if src.Provider() == source.Supabase {
			if err := s.tableOf(ctx, &now); err != nil {
				return err
			}
		}
		if now.Claims, err = s.claimsOfSource(ctx, now.Name); err != nil {
			return err
		}
		s.Status.Sources = append(s.Status.Sources, now)
	}
	return nil
}

// claimsOfSource is how the function of a source's claims is; "" for a source without any.
func (s *status) claimsOfSource(ctx context.Context, source string) (string, error) {
	i := slices.IndexFunc(s.Claims, func(c target.Claims) bool { return c.Source == source })
	if i < 0 {
		return "", nil
	}
	state, err := tokens.Tokens{Pool: s.DB.Pool()}.State(ctx, &s.Claims[i])
	switch {
	case err != nil:
		return "", err
	case !state.Installed:
		return "missing", nil
	case !state.Current:
		return "outdated", nil
	}
	return "installed", nil
}

// tableOf adds how the table of a source is followed.
func (s *status) tableOf(ctx context.Context, now *SourceStatus) error {
	for _, c := range s.Captures {
		if c.Source != now.Name {
			continue
		}
		if _, err := s.DB.Directory().Users(ctx, c.Source, c.Table); err == nil {
			now.Decides = "table"
		}
		state, err := s.DB.Outbox().State(ctx, c)
		if errors.Is(err, directory.ErrUnseen) {
			continue
		}
		if err != nil {
			return err
		}
		now.Waiting = state.Waiting
		s.Queue.Captured += state.Waiting
		if state.Waiting > 0 {
			s.Queue.OldestSeconds = max(s.Queue.OldestSeconds, s.Now().Sub(state.Oldest).Seconds())
		}
		switch {
		case state.For == "":
			now.Capture = "missing"
		case state.For != c.Source:
			now.Capture = "other source"
		case !state.Installed:
			now.Capture = "disabled"
		default:
			now.Capture = "installed"
		}
	}
	return nil
}

func (s *status) targets(ctx context.Context) error {
	parked, err := s.survey.Parked(ctx)
	checked, more := s.DB.Audit().Checked(ctx)
	filled, unknown := s.DB.Backfills().States(ctx)
	if err = errors.Join(err, more, unknown); err != nil {
		return err
	}
	states := s.DB.Targets().States()
	for _, t := range s.File.Targets {
		now := TargetStatus{Name: t.Name, Table: t.Table, State: "ok", Filled: true}
		for _, state := range states {
			if state.Name == t.Name && state.Outage != "" {
				now.State, now.Error = "out of service", state.Outage
			}
		}
		for _, p := range parked {
			if p.Target == t.Name {
				now.Parked, now.GivenUp = p.Users, p.GivenUp
				s.Queue.Parked += p.Users
			}
		}
		now.Filled = !slices.ContainsFunc(filled, func(f backfill.State) bool { return f.Target == t.Name && f.New })
		if c := checked[t.Name]; !c.At.IsZero() {
			n := c.OutOfStep()
			now.OutOfStep, now.Checked = &n, known(c.At)
		}
		s.Status.Targets = append(s.Status.Targets, now)
	}
	return nil
}

func (s *status) jobs(ctx context.Context) (err error) {
	if s.Jobs, err = s.survey.Jobs(ctx); err != nil {
		return err
	}
	counts, err := jobs.Count(ctx, s.DB.Pool())
	s.Queue.JobsWaiting, s.Queue.JobsRunning = counts.Waiting, counts.Running
	return err
}

func (s *status) reconciliations(ctx context.Context) error {
	list, err := s.DB.Directory().LastRuns(ctx)
	if err != nil {
		return err
	}
	for _, src := range s.File.Sources {
		now := Reconciled{Source: src.Name}
		for _, l := range list {
			if l.Source == src.Name {
				now = Reconciled{src.Name, known(l.Ended), known(l.Success), l.Error, l.Users}
			}
		}
		s.Reconciled = append(s.Reconciled, now)
	}
	return nil
}

func (s *status) replicas(ctx context.Context) (err error) {
	s.Replicas, err = s.survey.Replicas(ctx, jobs.ReplicaAge)
	return err
}

// known is a time, nil for never.
func known(t time.Time) *time.Time {
	if t.Unix() <= 0 {
		return nil
	}
	t = t.UTC()
	return &t
}
