package reconcile

import (
	"context"

	"rollcall/internal/event"
	"rollcall/internal/postgres/directory"
)

// Finding is what a run would do about one user.
type Finding struct {
	User        string       `json:"user"`
	Action      string       `json:"action"` // created, updated, touched, deleted or failed
	Reason      string       `json:"reason,omitempty"`
	Differences []Difference `json:"differences,omitempty"`
}

// Preview says what Run would do, and writes nothing. Each is handed every user who is not in
// step. The error is the guard's that would stop the run.
func Preview(ctx context.Context, cfg Config, each func(Finding) error) (directory.Reconciled, error) {
	from, err := cfg.userList(ctx, true)
	if err != nil {
		return directory.Reconciled{}, err
	}
	defer from.close()
	r := &run{Config: cfg, Run: &directory.Run{}, from: from, dry: true}
	if r.total, r.known, err = from.count(ctx); err == nil {
		err = r.guards(0)
	}
	if err != nil {
		return r.Reconciled, err
	}
	err = from.preview(ctx, r.guards, func(page part) error { return r.previewPage(page, each) })
	if err == nil {
		err = r.guards(r.Deleted)
	}
	return r.Reconciled, err
}

// previewPage counts the users of a page and hands on what would become of those who differ.
func (r *run) previewPage(page part, each func(Finding) error) error {
	for _, p := range page.pairs {
		if f := r.preview(p); f.Action != "" {
			if err := each(f); err != nil {
				return err
			}
		}
	}
	r.Unchanged += page.compared.Same
	for _, d := range page.compared.Differing {
		f := Finding{User: d.ID, Action: d.Verdict, Differences: masked(d.Columns)}
		switch d.Verdict {
		case directory.Created:
			r.Created++
		case directory.Updated:
			r.Updated++
		case directory.Touched:
			r.Touched++
		case directory.Deleted:
			r.Deleted++
			f.Reason = r.gone()
		}
		if err := each(f); err != nil {
			return err
		}
	}
	return nil
}

func (r *run) gone() string { return "no longer in " + r.from.name() }

// preview counts a user and says what would become of them; no action when they are in step.
func (r *run) preview(p directory.Pair) Finding {
	f := Finding{User: p.ID}
	theirs, verdict, err := r.judge(p)
	if err != nil {
		r.Failed++
		f.Action, f.Reason = "failed", err.Error()
		return f
	}
	switch verdict {
	case Create:
		r.Created++
		f.Action, f.Differences = "created", differencesOf(&event.Users, theirs, event.Users.Empty())
	case Update:
		r.Updated++
		f.Action, f.Differences = "updated", differences(theirs, p.Roll)
	case Touch:
		r.Touched++
		f.Action, f.Differences = "touched", differences(theirs, p.Roll)
	case Vanished:
		r.Deleted++
		f.Action, f.Reason = "deleted", r.gone()
	case Final, Newer:
		r.Failed++
		f.Action, f.Reason = "failed", r.advice(verdict, p)
	case Same:
		r.Unchanged++
	case Forgotten:
	}
	return f
}
