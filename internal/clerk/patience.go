package clerk

import (
	"context"
	"errors"
	"time"

	"rollcall/internal/event"
)

// How patient the patient ones are.
const (
	// tries of what fails on its own, with a wait between them that doubles from one to
	// the other.
	tries     = 6
	firstWait = 500 * time.Millisecond
	lastWait  = 15 * time.Second
	// patience is how long a request may be told to come again, by a provider who wants
	// to be left alone, before it is given up.
	patience = 5 * time.Minute
	// firstPause is the wait when a provider doesn't say how long it is to be left alone;
	// it doubles as well.
	firstPause = time.Second
)

// patiently tries until try succeeds, or until waiting can't help or helps no more. It
// keeps to the pace, and to the pauses the provider asks for.
func (a *API) patiently(ctx context.Context, try func() error) error {
	wait, pause := firstWait, firstPause
	var refused time.Time // the first time that the provider asked to be left alone
	for failures := 0; ; {
		if err := a.turn(ctx); err != nil {
			return err
		}
		err := try()
		switch {
		case err == nil || ctx.Err() != nil || !errors.Is(err, event.ErrUnavailable):
			return err
		case errors.Is(err, errPausing):
			if refused.IsZero() {
				refused = time.Now()
			}
			if time.Since(refused) > patience {
				return err
			}
			if event.RetryAfter(err) == 0 {
				a.pauseFor(pause)
				pause = min(2*pause, lastWait)
			}
		default:
			if failures++; failures == tries {
				return err
			}
			a.log.WarnContext(ctx, "the provider's API failed, it is asked again", "error", err, "failures", failures)
			if err := sleep(ctx, max(wait, event.RetryAfter(err))); err != nil {
				return err
			}
			wait = min(2*wait, lastWait)
		}
	}
}

// read asks patiently until an answer can be read; unreadable says what is wrong with one that can't.
func (a *API) read(ctx context.Context, q question, unreadable string, read func(body []byte) bool) error {
	return a.patiently(ctx, func() error {
		body, err := a.ask(ctx, q)
		if err == nil && !read(body) {
			return q.unreadable(unreadable)
		}
		return err
	})
}

// turn waits until a request may be sent: the pause is over, and the pace allows it.
func (a *API) turn(ctx context.Context) error {
	for {
		for left := a.pausing(); left > 0; left = a.pausing() {
			if err := sleep(ctx, left); err != nil {
				return err
			}
		}
		if err := a.pace.Wait(ctx); err != nil {
			return waited(ctx, err)
		}
		if a.pausing() == 0 { // it may have begun meanwhile
			return nil
		}
	}
}

// pauseFor leaves the provider alone for a while; all who use this API do.
func (a *API) pauseFor(d time.Duration) {
	if d <= 0 {
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	now := time.Now()
	if !now.Before(a.until) { // of several refused at once one line is enough
		a.log.Warn("the provider's API has had enough requests, it is left alone for a while", "seconds", d.Seconds())
	}
	if until := now.Add(d); until.After(a.until) {
		a.until = until
	}
}

// pausing is how long the provider is still to be left alone, 0 when it is not.
func (a *API) pausing() time.Duration {
	a.mu.Lock()
	defer a.mu.Unlock()
	return max(0, time.Until(a.until))
}

func sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return waited(ctx, ctx.Err())
	}
}

// waited is the error of a wait that the context ended, or would have ended.
func waited(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		err = ctx.Err()
	}
	return &apiError{request: "wait for a request's turn", kind: errAnswer, cause: err}
}
