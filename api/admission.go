package api

import (
	"context"
	"errors"
	"fmt"
	"time"

	"rollcall/internal/admission"
	"rollcall/internal/event"
)

// Admission is the rules of a source about who may sign up.
type Admission struct {
	Rules *admission.Rules
	// Met asks the condition about a user; nil without one.
	Met func(context.Context, *event.User) (bool, error)
}

// A sign-up waits for the answer, and Supabase gives all hooks of a request 5 s together. So the lists answer
// within 50 ms whether or not the database is there, and the condition within 500 ms. Either answer waits
// commitWait at most for its record.
const (
	conditionWait = 450 * time.Millisecond
	commitWait    = 10 * time.Millisecond
)

// admit decides whether an announced user may sign up, and has that recorded. The answer to a refusal does not
// depend on the record. The one to an admission does where when_unavailable is refuse. An announcement that can't be
// read stays undecodable in the record.
func (s *Server) admit(ctx context.Context, d *delivery, a Admission, user *event.User) {
	decision, failed := a.Decide(ctx, user)
	s.metrics.admissions.WithLabelValues(d.source.Name(), string(decision.Rule), string(decision.Verdict)).Inc()
	d.event.Reason = decision.Reason()
	refuses := s.config().Refuse[d.source.Name()]
	d.outcome, d.err = SignUp(decision, failed, refuses), failed
	switch {
	case d.outcome == event.Refused:
		if d.event.Op == event.Announce {
			d.event.Op = event.Refuse
		}
		d.event.Reply = a.Rules.Reply()
		s.submitWithin(ctx, d, commitWait)
	case d.outcome == event.Unavailable: // the auth server asks again, or there is no user
	case refuses:
		d.outcome, d.err = s.submit(ctx, d)
	default:
		s.submitWithin(ctx, d, commitWait)
	}
}

// SignUp is the outcome of a sign-up about which the rules have decided. Where the condition failed, when_unavailable
// decides, which refuses or admits.
func SignUp(decision admission.Decision, failed error, refuses bool) event.Outcome {
	switch {
	case decision.Verdict == admission.Refused:
		return event.Refused
	case failed == nil:
		return event.Announced
	case refuses:
		return event.Unavailable
	}
	return event.Admitted
}

// Decide asks the rules about a user; about their condition it waits no longer than a sign-up can.
func (a Admission) Decide(ctx context.Context, user *event.User) (admission.Decision, error) {
	return a.Rules.Decide(user.Email, func() (bool, error) {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), conditionWait)
		defer cancel()
		met, err := a.Met(ctx, user)
		if err != nil {
			err = fmt.Errorf("admission.require: %w", err)
		}
		return met, err
	})
}

// committed is what became of an event that was submitted.
type committed struct {
	outcome event.Outcome
	err     error
}

// settle takes what became of the event when it was submitted. A refusal stays one, and so does an admission whose
// condition failed.
func (d *delivery) settle(c committed) {
	switch {
	case d.outcome != event.Announced && c.err == nil:
	case c.err == nil:
		d.outcome = c.outcome
	case d.outcome == event.Refused:
		d.err = c.err
	default:
		d.outcome, d.err = event.Admitted, errors.Join(d.err, c.err)
	}
}

// submitWithin has an event recorded and waits for that for so long. Then the answer goes out, and the event stays in
// the queue: only the log and the metrics wait for what becomes of it.
func (s *Server) submitWithin(ctx context.Context, d *delivery, wait time.Duration) {
	done, of := make(chan committed, 1), d.event
	go func() {
		var c committed
		c.err = event.Safely(func() (err error) {
			c.outcome, err = s.config().Submit(context.WithoutCancel(ctx), of)
			return err
		})
		done <- c
	}()
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case c := <-done:
		d.settle(c)
	case <-timer.C:
		d.later = done
	}
}
