package clerk

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"rollcall/internal/clerktest"
	"rollcall/internal/event"
	"rollcall/internal/must"
)

// The clock of these tests is testing/synctest's: waits cost nothing and are exact.

func TestPaceLeavesHalfOfTheLimit(t *testing.T) {
	t.Parallel()
	for key, half := range map[string]int{"sk_live_made_up": 500, "sk_test_made_up": 50, "made_up": 50} {
		synctest.Test(t, func(t *testing.T) {
			clerk := clerktest.New(t)
			clerk.SetKey(key)
			api := New(Config{Key: key, URL: clerktest.Address, Client: clerk.Client()})
			begin := time.Now()
			for range 3 { // a pause lets the bucket fill
				must.Get(api.FetchAll(t.Context(), many))(t)
				must.Get(api.Count(t.Context()))(t)
				time.Sleep(5 * time.Second)
			}
			requests := clerk.Requests()
			if most := mostIn(requests, apiWindow); most > half {
				t.Errorf("%s: %d requests in %v, want %d at most", key, most, apiWindow, half)
			}
			if took, most := time.Since(begin)-15*time.Second, 11*time.Second*time.Duration(len(requests))/time.Duration(half)+apiWindow; took > most {
				t.Errorf("%s: %d requests took %v", key, len(requests), took)
			}
		})
	}
}

// mostIn is the largest number of requests in any window.
func mostIn(requests []clerktest.Request, window time.Duration) int {
	most, first := 0, 0
	for i, r := range requests {
		for r.At.Sub(requests[first].At) >= window {
			first++
		}
		most = max(most, i-first+1)
	}
	return most
}

func TestLeftAlone(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		clerk := clerktest.New(t)
		ids := clerk.PutMany(20)
		clerk.SetLimit(6, 7*time.Second)
		api := apiOf(clerk)
		begin, looked := time.Now(), make(chan error)
		go func() {
			time.Sleep(time.Second)
			_, err := api.Fetch(t.Context(), ids[0])
			if took := time.Since(begin); took != time.Second || event.RetryAfter(err) != 6*time.Second {
				t.Errorf("who waits learned after %v to wait %v more", took, event.RetryAfter(err))
			}
			looked <- err
		}()
		users, err := api.FetchAll(t.Context(), ids)
		if err != nil || len(users) != 20 || users[19] == nil {
			t.Error(len(users), err)
		}
		if err := <-looked; !errors.Is(err, event.ErrUnavailable) || errors.Is(err, ErrGone) {
			t.Error(err)
		}
		must.Equal(t, time.Since(begin), 21*time.Second, "time taken")
		for _, r := range clerk.Requests() { // six at once, then nothing for seven seconds
			if r.At.Sub(begin)%(7*time.Second) != 0 {
				t.Errorf("a request in a pause, after %v", r.At.Sub(begin))
			}
		}
	})
}

// Those who were waiting for their turn when the pause began wait for its end as well.
func TestPauseHoldsThoseInTheQueue(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		clerk := clerktest.New(t)
		clerk.SetLimit(5, 30*time.Second)
		ids := clerk.PutMany(12)
		must.Get(limited(clerk, 100).FetchAll(t.Context(), ids))(t)
		refused := 0
		for i, r := range clerk.Requests() {
			if r.Status != http.StatusTooManyRequests {
				continue
			}
			refused++
			if next := clerk.Requests()[i+1]; next.At.Sub(r.At) < 29*time.Second {
				t.Errorf("asked again after %v", next.At.Sub(r.At))
			}
		}
		must.Equal(t, refused, 2, "refusals, one in each full window")
	})
}

func TestRetryAfter(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		for text, want := range map[string]time.Duration{
			"3": 3 * time.Second, "": 0, "0": 0, "-5": 0, "soon": 0, "99999999999999999999": 0, "3600": time.Minute,
			time.Now().Add(20 * time.Second).UTC().Format(http.TimeFormat):  20 * time.Second,
			time.Now().Add(-20 * time.Second).UTC().Format(http.TimeFormat): 0,
		} {
			for _, status := range []int{429, 503} {
				if _, err := always(status, ``, "Retry-After", text).Fetch(t.Context(), "user_1"); event.RetryAfter(err) != want || !errors.Is(err, event.ErrUnavailable) {
					t.Errorf("%d %q: got %v, want %v", status, text, event.RetryAfter(err), want)
				}
			}
		}
		must.Equal(t, event.RetryAfter(nil)+event.RetryAfter(errors.New("another")), 0, "of nothing")
	})
}

// A provider who never says when is asked less and less often, and not for ever.
func TestPatienceEnds(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		clerk := clerktest.New(t)
		clerk.FailNext(1_000_000, http.StatusTooManyRequests)
		begin := time.Now()
		_, err := apiOf(clerk).Count(t.Context())
		if took := time.Since(begin); !errors.Is(err, event.ErrUnavailable) || took < patience || took > patience+time.Minute {
			t.Errorf("after %v: %v", took, err)
		}
		if n := len(clerk.Requests()); n < 10 || n > 30 {
			t.Errorf("%d requests", n)
		}
	})
}

func TestFailuresArePassed(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		clerk := clerktest.New(t)
		id := clerk.PutMany(1)[0]
		api := apiOf(clerk)
		for failures, want := range map[int]time.Duration{1: 500 * time.Millisecond, 3: 3500 * time.Millisecond, 5: 15500 * time.Millisecond} {
			clerk.FailNext(failures, http.StatusBadGateway)
			begin := time.Now()
			must.Equal(t, must.Get(api.Count(t.Context()))(t), 1, failures, " failures: users")
			must.Equal(t, time.Since(begin), want, failures, " failures: time taken")
		}
		clerk.ForgetRequests()
		clerk.FailNext(tries, http.StatusInternalServerError)
		must.Fail(t, must.Err(api.Count(t.Context())), event.ErrUnavailable)
		must.Equal(t, len(clerk.Requests()), tries, "requests")
		clerk.CutNext(1)
		if users, err := api.FetchAll(t.Context(), []string{id}); err != nil || users[0] == nil {
			t.Errorf("cut off: %v", err)
		}
		clerk.ForgetRequests()
		clerk.CutNext(1)
		begin := time.Now()
		must.Fail(t, must.Err(api.Fetch(t.Context(), id)), event.ErrUnavailable)
		must.Equal(t, len(clerk.Requests()), 1, "requests for one who waits")
		must.Equal(t, time.Since(begin), 0, "time taken for one who waits")
	})
}

func TestOtherRejectionsAreNotRepeated(t *testing.T) {
	t.Parallel()
	for _, status := range []int{400, 402, 404, 410, 422} {
		asked := 0
		api := answers(func(*http.Request) (*http.Response, error) {
			asked++
			return answered(status, `{"errors":[{"code":"made_up"}]}`)
		}).api()
		_, err := api.Count(t.Context())
		if err == nil || errors.Is(err, event.ErrUnavailable) || errors.Is(err, ErrGone) || asked != 1 || !strings.Contains(err.Error(), http.StatusText(status)) {
			t.Errorf("%d: asked %d times: %v", status, asked, err)
		}
	}
}

func TestSlowAnswers(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		clerk := clerktest.New(t)
		clerk.SetDelay(time.Hour)
		begin := time.Now()
		_, err := apiOf(clerk).Fetch(t.Context(), "user_1")
		// The caller's time is not over, and the error must not say so.
		if took := time.Since(begin); took != askTimeout || !errors.Is(err, event.ErrUnavailable) || errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("after %v: %v", took, err)
		}
	})
}

// Whoever leaves leaves at once, whatever is being waited for.
func TestContextEndsEveryWait(t *testing.T) {
	t.Parallel()
	waits := map[string]func(*clerktest.Clerk){
		"an answer": func(c *clerktest.Clerk) { c.SetDelay(time.Hour) },
		"a pause":   func(c *clerktest.Clerk) { c.SetLimit(1, time.Hour); c.FailNext(1, http.StatusInternalServerError) },
		"a retry":   func(c *clerktest.Clerk) { c.FailNext(1_000_000, http.StatusInternalServerError) },
	}
	for call, ask := range calls {
		for wait, set := range waits {
			if call == "fetch" && wait != "an answer" {
				continue // it waits for nothing else
			}
			for _, cancelled := range []bool{true, false} {
				synctest.Test(t, func(t *testing.T) {
					clerk := clerktest.New(t)
					set(clerk)
					ctx, cancel := context.WithCancel(t.Context())
					want := context.Canceled
					if cancelled {
						time.AfterFunc(3*time.Second, cancel)
					} else {
						ctx, cancel = context.WithTimeout(t.Context(), 3*time.Second)
						want = context.DeadlineExceeded
					}
					defer cancel()
					begin := time.Now()
					err := ask(ctx, apiOf(clerk), many)
					if took := time.Since(begin); took != 3*time.Second || !errors.Is(err, want) {
						t.Errorf("%s while waiting for %s: after %v: %v", call, wait, took, err)
					}
				})
			}
		}
	}
	synctest.Test(t, func(t *testing.T) { // for its turn
		clerk := clerktest.New(t)
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(3*time.Second, cancel)
		must.Fail(t, must.Err(limited(clerk, 2).FetchAll(ctx, many)), context.Canceled)
		must.Equal(t, len(clerk.Requests()), 1, "requests")
	})
}
