package reconcile

import (
	"context"
	"errors"

	"rollcall/internal/clerk"
	"rollcall/internal/event"
	"rollcall/internal/postgres/directory"
)

// Plan is what a run would do about one user, organisation or membership.
type Plan struct {
	Roll        *event.Roll  `json:"-"`
	User        string       `json:"user,omitempty"`
	ID          string       `json:"id,omitempty"` // of what is no user
	Action      string       `json:"action"`       // created, updated, touched, deleted or failed
	Reason      string       `json:"reason,omitempty"`
	Differences []Difference `json:"differences,omitempty"`
}

// Preview says what Run would do, and writes nothing. Each is handed every row that is not in
// step. The error is the guard's that would stop the run.
func Preview(ctx context.Context, cfg Config, each func(Plan) error) (Tally, error) {
	would := &directory.Run{Others: map[string]*directory.Stage{}}
	gone := map[*kind][]string{} // memberships end with their user or organisation
	for _, k := range cfg.kinds() {
		r, err := cfg.open(ctx, k, true)
		if errors.Is(err, clerk.ErrDisabled) {
			cfg.sayDisabled(k)
			continue
		}
		if err != nil {
			return tallyOf(would), err
		}
		if r.Stage = &would.Users; k != users {
			r.Stage = &directory.Stage{}
			would.Others[k.Name] = r.Stage
		}
		if l, ok := r.from.(*listing); ok {
			l.seen.Without(gone[users], gone[organizations])
		}
		err = r.previewAll(ctx, func(f Plan) error {
			if f.Action == string(Vanished) {
				gone[k] = append(gone[k], f.User+f.ID)
			}
			return each(f)
		})
		if err != nil {
			return tallyOf(would), err
		}
	}
	return tallyOf(would), nil
}

func (r *run) previewAll(ctx context.Context, each func(Plan) error) error {
	defer r.from.close()
	err := r.guardBefore()
	if err == nil {
		err = r.from.preview(ctx, r.guards, func(page part) error { return r.previewPage(page, each) })
	}
	if err == nil {
		err = r.guards(r.Deleted)
	}
	return err
}

// previewPage counts the rows of a page and hands on what would become of those who differ.
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

// preview counts a row and says what would become of it; no action when it is in step.
func (r *run) preview(p directory.Pair) Plan {
	theirs, verdict, err := r.judge(p)
	if err != nil {
		r.Failed++
		return r.plan(p.ID, "failed", err.Error())
	}
	switch verdict {
	case Create:
		return r.foresee(verdict, p.ID, differences(r.kind.Roll, theirs, r.kind.Empty()))
	case Update, Touch:
		return r.foresee(verdict, p.ID, differences(r.kind.Roll, theirs, p.Roll))
	case Vanished:
		return r.foresee(verdict, p.ID, nil)
	case Final, Newer:
		r.Failed++
		return r.plan(p.ID, "failed", r.advice(verdict, p))
	case Same:
		r.Unchanged++
	case Forgotten:
	}
	return Plan{}
}

// plan is about a row with an id.
func (r *run) plan(id, action, reason string) Plan {
	f := Plan{Roll: r.kind.Roll, ID: id, Action: action, Reason: reason}
	if r.kind == users {
		f.User, f.ID = id, ""
	}
	return f
}

// foresee counts a row that is not in step and says what a run would do.
func (r *run) foresee(verdict Verdict, id string, differ []Difference) Plan {
	f := r.plan(id, string(verdict), "")
	f.Differences = differ
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
