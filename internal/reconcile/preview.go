package reconcile

import (
	"context"

	"rollcall/internal/event"
	"rollcall/internal/postgres/directory"
)

// Plan is what a run would do about one user.
type Plan struct {
	User        string       `json:"user"`
	Action      string       `json:"action"` // created, updated, touched, deleted or failed
	Reason      string       `json:"reason,omitempty"`
	Differences []Difference `json:"differences,omitempty"`
}

// Preview says what Run would do, and writes nothing. Each is handed every user who is not in
// step. The error is the guard's that would stop the run.
func Preview(ctx context.Context, cfg Config, each func(Plan) error) (directory.Reconciled, error) {
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
func (r *run) previewPage(page part, each func(Plan) error) error {
	for _, p := range page.pairs {
		if f := r.preview(p); f.Action != "" {
			if err := each(f); err != nil {
				return err
			}
		}
	}
	r.Unchanged += page.compared.Same
	for _, d := range page.compared.Differing {
		if err := each(r.foresee(Verdict(d.Verdict), d.ID, masked(d.Columns))); err != nil {
			return err
		}
	}
	return nil
}

// preview counts a user and says what would become of them; no action when they are in step.
func (r *run) preview(p directory.Pair) Plan {
	theirs, verdict, err := r.judge(p)
	if err != nil {
		r.Failed++
		return Plan{User: p.ID, Action: "failed", Reason: err.Error()}
	}
	switch verdict {
	case Create:
		return r.foresee(verdict, p.ID, differencesOf(&event.Users, theirs, event.Users.Empty()))
	case Update, Touch:
		return r.foresee(verdict, p.ID, differences(theirs, p.Roll))
	case Vanished:
		return r.foresee(verdict, p.ID, nil)
	case Final, Newer:
		r.Failed++
		return Plan{User: p.ID, Action: "failed", Reason: r.advice(verdict, p)}
	case Same:
		r.Unchanged++
	case Forgotten:
	}
	return Plan{}
}

// foresee counts a user who is not in step and says what a run would do.
func (r *run) foresee(verdict Verdict, id string, differ []Difference) Plan {
	f := Plan{User: id, Action: string(verdict), Differences: differ}
	switch verdict {
	case Create:
		r.Created++
	case Update:
		r.Updated++
	case Touch:
		r.Touched++
	default:
		r.Deleted++
		f.Reason = "no longer in " + r.from.name()
	}
	return f
}
