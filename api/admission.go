package api

import (
	"context"
	"fmt"
	"time"

	"rollcall/internal/admission"
	"rollcall/internal/event"
)

// Admission is the rules of a source about who may sign up.
type Admission struct {
	Rules *admission.Rules
	// Met asks the condition about a user, where Rules.Requires. It ends in time for its bound.
	Met func(context.Context, *event.User) (bool, error)
}

// A sign-up waits for the answer, and Supabase gives all hooks of a request 5 s together. So the lists answer
// within 50 ms whether or not the database is there, and the condition within 500 ms; what is left of that
// the answer waits for the commit.
const (
	listsWait     = 30 * time.Millisecond
	conditionWait = 450 * time.Millisecond
)

// admit decides whether an announced user may sign up, and has that recorded. The answer to a refusal does not
// depend on the record. The one to an admission does where when_unavailable is refuse.
func (s *Server) admit(ctx context.Context, d *delivery, a Admission, user *event.User) {
	began, wait := time.Now(), listsWait
	decision := a.Rules.Lists(email(user))
	var failed error
	if decision.Verdict == admission.Admitted && a.Rules.Requires() {
		wait = conditionWait + listsWait
		decision, failed = a.ask(ctx, began.Add(conditionWait), user)
	}
	s.metrics.admissions.WithLabelValues(d.source.Name(), string(decision.Rule), string(decision.Verdict)).Inc()
	d.event.Reason = decision.Reason()
	refuses := s.config().Refuse[d.source.Name()]
	switch {
	case decision.Verdict == admission.Refused:
		d.event.Op, d.event.Reply = event.Refuse, a.Rules.Reply()
		s.submitWithin(ctx, d, time.Until(began.Add(wait)))
		d.outcome = event.Refused
	case failed != nil && refuses:
		d.outcome, d.err = event.Unavailable, failed
	case refuses:
		d.outcome, d.err = s.submit(ctx, d)
	default:
		s.submitWithin(ctx, d, time.Until(began.Add(wait)))
		if failed != nil {
			d.outcome, d.err, d.late = event.Admitted, failed, false
		}
	}
}

// email is a user's address, "" for none.
func email(u *event.User) string {
	if u.Email == nil {
		return ""
	}
	return *u.Email
}

// ask asks the condition, until a moment.
func (a Admission) ask(ctx context.Context, until time.Time, user *event.User) (admission.Decision, error) {
	ctx, cancel := context.WithDeadline(context.WithoutCancel(ctx), until)
	defer cancel()
	met, err := a.Met(ctx, user)
	if err != nil {
		return admission.Unasked(), fmt.Errorf("admission.require: %w", err)
	}
	return admission.Met(met), nil
}

// submitWithin has an event recorded and waits for that for so long. An answer that does not wait any longer leaves
// the event in the queue; if it is not recorded in the end, the log says so.
func (s *Server) submitWithin(ctx context.Context, d *delivery, wait time.Duration) {
	type answer struct {
		outcome event.Outcome
		err     error
	}
	done, of := make(chan answer, 1), d.event
	go func() {
		var a answer
		a.err = event.Safely(func() (err error) {
			a.outcome, err = s.config().Submit(context.WithoutCancel(ctx), of)
			return err
		})
		done <- a
	}()
	timer := time.NewTimer(max(wait, 0))
	defer timer.Stop()
	d.outcome = event.Admitted
	select {
	case a := <-done:
		if d.err = a.err; a.err == nil {
			d.outcome = a.outcome
		}
	case <-timer.C:
		d.late = true
		go func() {
			if a := <-done; a.err != nil && s.lines.allow("unrecorded sign-up "+of.Source) {
				s.config().Log.Warn("a sign-up is not recorded, though it was answered",
					"source", of.Source, "event", of.ID, "reason", of.Reason, "error", a.err)
			}
		}()
	}
}
