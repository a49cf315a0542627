package admin

import (
	"context"
	"errors"

	"rollcall/internal/postgres/auditlog"
	"rollcall/internal/trial"
)

// ForeseeSample says what a built-in event would change, and changes nothing.
func (o *Operator) ForeseeSample(ctx context.Context, s trial.Sample) (*trial.Tried, error) {
	tried, err := o.Trial().Foresee(ctx, s)
	return tried, misfitOf(err)
}

// SendSample sends a built-in event to this replica, signed, and says what has changed.
func (o *Operator) SendSample(ctx context.Context, by string, s trial.Sample) (*trial.Tried, error) {
	tried, err := o.Trial().Send(ctx, s)
	if tried != nil {
		o.note(ctx, auditlog.Entry{Who: by, Action: "send sample", Object: s.Event + " " + tried.Roll + "/" + s.Source + "/" + tried.ID, Result: tried.Outcome})
	}
	return tried, misfitOf(err)
}

// misfitOf has a mistake in a sample be one of the request.
func misfitOf(err error) error {
	if wrong, ok := errors.AsType[*trial.MistakeError](err); ok {
		return &MisfitError{wrong.Field, wrong.Value, wrong.Message}
	}
	return err
}

// sampleRequest asks for a sample.
type sampleRequest struct {
	trial.Sample

	DryRun bool `json:"dry_run,omitempty" doc:"say what it would change, and change nothing"`
}

func (a *Admin) trySample(ctx context.Context, in *struct{ Body sampleRequest }) (*trial.Tried, error) {
	if in.Body.DryRun {
		return a.operator.ForeseeSample(ctx, in.Body.Sample)
	}
	return a.operator.SendSample(ctx, holder(ctx), in.Body.Sample)
}
