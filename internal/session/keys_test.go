package session

import (
	"bytes"
	"context"
	"crypto/elliptic"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"rollcall/internal/event"
	"rollcall/internal/must"
	"rollcall/internal/testtag"
)

// fresh is a token of Clerk's signed with that key, valid by the world's clock.
func (w *world) fresh(t testing.TB, kid string) string {
	t.Helper()
	d := w.clerkDraft()
	d.header["kid"] = kid
	return d.token(t)
}

func (w *world) wantError(t testing.TB, token string, want error) {
	t.Helper()
	who, err := w.Verify(t.Context(), token)
	must.True(t, errors.Is(err, want) && who.Source == "clerk", "Verify = %q, %v, want %q, %v", who.Source, err, "clerk", want)
}

func TestKeysAreFetchedLazilyAndKeptAnHour(t *testing.T) {
	w := parallel(t)
	w.clerk.wantCalls(t, 0)
	for range 3 {
		w.accept(t, w.fresh(t, "ins_1"), "clerk", clerkUser)
	}
	w.clerk.wantCalls(t, 1)
	w.pass(keysLife - time.Second)
	w.accept(t, w.fresh(t, "ins_1"), "clerk", clerkUser)
	w.clerk.wantCalls(t, 1)
	w.pass(time.Second)
	w.accept(t, w.fresh(t, "ins_1"), "clerk", clerkUser)
	w.accept(t, w.fresh(t, "ins_1"), "clerk", clerkUser)
	w.clerk.wantCalls(t, 2)
	w.supabase.wantCalls(t, 0)
}

func TestKeysThatAreWithdrawn(t *testing.T) {
	w := parallel(t)
	w.accept(t, w.fresh(t, "ins_1"), "clerk", clerkUser)
	w.clerk.becomes(publish(t, public("ins_2", clerkKey())))
	w.pass(keysLife)
	w.wantError(t, w.fresh(t, "ins_1"), ErrInvalid)
	w.accept(t, w.fresh(t, "ins_2"), "clerk", clerkUser)
	w.clerk.wantCalls(t, 2)
}

func TestRotation(t *testing.T) {
	w := parallel(t)
	w.accept(t, w.fresh(t, "ins_1"), "clerk", clerkUser)
	w.clerk.becomes(publish(t, public("ins_1", clerkKey()), public("ins_2", clerkKey())))
	w.pass(fetchFloor - time.Second)
	w.wantError(t, w.fresh(t, "ins_2"), ErrInvalid)
	w.clerk.wantCalls(t, 1)
	w.pass(time.Second)
	w.accept(t, w.fresh(t, "ins_2"), "clerk", clerkUser)
	w.accept(t, w.fresh(t, "ins_2"), "clerk", clerkUser)
	w.accept(t, w.fresh(t, "ins_1"), "clerk", clerkUser)
	w.clerk.wantCalls(t, 2)
}

func TestInventedKeysMakeOneFetchInThirtySeconds(t *testing.T) {
	w := parallel(t)
	w.accept(t, w.fresh(t, "ins_1"), "clerk", clerkUser)
	for round := range int64(3) {
		w.pass(fetchFloor)
		for n := range 100 {
			w.wantError(t, w.fresh(t, fmt.Sprintf("invented-%d-%d", round, n)), ErrInvalid)
		}
		w.accept(t, w.fresh(t, "ins_1"), "clerk", clerkUser)
		w.clerk.wantCalls(t, 2+round)
	}
}

// outages are answers that hold no usable set.
func outages(t testing.TB) map[string]http.HandlerFunc {
	other := newProvider(t, publish(t, public("ins_1", clerkKey())))
	keys := `{"keys":[` + string(jwkOf(clerkKey())) + `]}`
	nameless, wide := public("", clerkKey()), public("ins_1", newCurve(elliptic.P384()))
	return map[string]http.HandlerFunc{
		"500":             text(http.StatusInternalServerError, ""),
		"404 with a set":  text(http.StatusNotFound, keys),
		"204":             text(http.StatusNoContent, ""),
		"garbage":         text(http.StatusOK, "<html>sorry</html>"),
		"nothing":         text(http.StatusOK, ""),
		"an empty set":    text(http.StatusOK, `{"keys":[]}`),
		"no set":          text(http.StatusOK, `{}`),
		"null":            text(http.StatusOK, `null`),
		"a useless set":   text(http.StatusOK, `{"keys":[{"kty":"oct","kid":"ins_1","k":"AAAA"}]}`),
		"no id":           publish(t, nameless),
		"another curve":   publish(t, wide),
		"over a MiB":      text(http.StatusOK, keys+strings.Repeat(" ", maxKeySet)),
		"cut off":         cutOff,
		"another host":    http.RedirectHandler(other.URL, http.StatusFound).ServeHTTP,
		"round and round": func(rw http.ResponseWriter, r *http.Request) { http.Redirect(rw, r, "/again", http.StatusFound) },
	}
}

// cutOff promises more than it sends.
func cutOff(rw http.ResponseWriter, _ *http.Request) {
	rw.Header().Set("Content-Length", "4096")
	_, _ = rw.Write([]byte(`{"keys":[`))
}

func TestOutageBeforeAnySet(t *testing.T) {
	t.Parallel()
	for name, outage := range outages(t) {
		t.Run(name, func(t *testing.T) {
			w := parallel(t)
			w.clerk.becomes(outage)
			w.wantError(t, w.fresh(t, "ins_1"), event.ErrUnavailable)
			asked := w.clerk.calls.Load()
			must.True(t, asked <= 4, "followed %d redirects", asked-1)
			w.pass(coldFloor - time.Second)
			w.wantError(t, w.fresh(t, "ins_1"), event.ErrUnavailable)
			w.clerk.becomes(publish(t, public("ins_1", clerkKey())))
			w.wantError(t, w.fresh(t, "ins_1"), event.ErrUnavailable)
			w.clerk.wantCalls(t, asked)
			w.pass(time.Second)
			w.accept(t, w.fresh(t, "ins_1"), "clerk", clerkUser)
			w.clerk.wantCalls(t, asked+1)
		})
	}
}

// Before the pause is over another try is in vain, so whoever is refused learns how long that is.
func TestOutageSaysWhenToComeAgain(t *testing.T) {
	w := parallel(t)
	w.clerk.becomes(text(http.StatusInternalServerError, ""))
	wantWait := func(kid string, want time.Duration) {
		t.Helper()
		err := w.refusal(t, w.fresh(t, kid))
		later, _ := errors.AsType[*event.LaterError](err)
		must.True(t, later != nil && later.Wait == want && errors.Is(err, event.ErrUnavailable),
			"%s: %v: got %+v, want to wait for %v", kid, err, later, want)
	}
	wantWait("ins_1", coldFloor)
	w.pass(2 * time.Second)
	wantWait("ins_1", coldFloor-2*time.Second)
	w.clerk.becomes(publish(t, public("ins_1", clerkKey())))
	w.pass(coldFloor - 2*time.Second)
	w.accept(t, w.fresh(t, "ins_1"), "clerk", clerkUser)
	w.clerk.becomes(text(http.StatusInternalServerError, ""))
	w.pass(fetchFloor)
	wantWait("ins_2", fetchFloor)
	w.pass(time.Second)
	wantWait("ins_2", fetchFloor-time.Second)
}

func TestOutageKeepsTheLastGoodSet(t *testing.T) {
	t.Parallel()
	for name, outage := range outages(t) {
		t.Run(name, func(t *testing.T) {
			w := parallel(t)
			w.accept(t, w.fresh(t, "ins_1"), "clerk", clerkUser)
			w.clerk.becomes(outage)
			w.pass(24 * time.Hour)
			w.accept(t, w.fresh(t, "ins_1"), "clerk", clerkUser)
			asked := w.clerk.calls.Load()
			must.True(t, asked >= 2, "an old set was not refreshed")
			w.pass(fetchFloor - time.Second)
			w.accept(t, w.fresh(t, "ins_1"), "clerk", clerkUser)
			// Whether this one is a new key can't be known.
			w.wantError(t, w.fresh(t, "ins_2"), event.ErrUnavailable)
			w.clerk.wantCalls(t, asked)
			w.pass(time.Second)
			w.clerk.becomes(publish(t, public("ins_2", clerkKey())))
			w.accept(t, w.fresh(t, "ins_2"), "clerk", clerkUser)
			w.wantError(t, w.fresh(t, "ins_1"), ErrInvalid)
			w.clerk.wantCalls(t, asked+1)
		})
	}
}

// TestSilentProvider has a provider that never answers: a fetch gives up by itself, and a
// request that can't wait as long goes with what is remembered.
func TestSilentProvider(t *testing.T) {
	testtag.Parallel(t)
	w := newWorld(t)
	release := make(chan struct{})
	t.Cleanup(func() { close(release) }) // before the server closes
	w.clerk.becomes(func(http.ResponseWriter, *http.Request) { <-release })
	began := time.Now()
	w.wantError(t, w.fresh(t, "ins_1"), event.ErrUnavailable)
	took := time.Since(began)
	must.True(t, took >= fetchTimeout && (!testtag.Timing || took <= 10*fetchTimeout),
		"gave up after %s, want %s", took, fetchTimeout)
	w.pass(coldFloor)
	w.clerk.becomes(publish(t, public("ins_1", clerkKey())))
	w.accept(t, w.fresh(t, "ins_1"), "clerk", clerkUser)
	w.clerk.becomes(func(http.ResponseWriter, *http.Request) { <-release })
	w.pass(keysLife)
	ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	_, err := w.Verify(ctx, w.fresh(t, "ins_1"))
	must.Do(t, err) // with a set that is old
	w.wantError(t, w.fresh(t, "ins_2"), event.ErrUnavailable)
}

// TestSilentOutage has a provider that stays silent after its keys have grown old: who shows a
// known key does not wait for it again and again. A while later it does, lest a key that was
// withdrawn be believed.
func TestSilentOutage(t *testing.T) {
	testtag.Parallel(t)
	w := newWorld(t)
	w.accept(t, w.fresh(t, "ins_1"), "clerk", clerkUser)
	w.pass(keysLife)
	w.clerk.becomes(text(http.StatusBadGateway, ""))
	w.accept(t, w.fresh(t, "ins_1"), "clerk", clerkUser)
	release := make(chan struct{})
	w.clerk.becomes(func(http.ResponseWriter, *http.Request) { <-release })
	w.pass(fetchFloor)
	began := time.Now()
	w.accept(t, w.fresh(t, "ins_1"), "clerk", clerkUser)
	took := time.Since(began)
	must.True(t, !testtag.Timing || took <= fetchTimeout/2, "waited %s for a provider who was away a moment ago", took)
	close(release)
	fetches := &w.issuers[clerkIssuer].keys.fetches
	<-fetches.DoChan("", func() (any, error) { return nil, nil }) // ends with the one under way
	w.clerk.wantCalls(t, 3)
	w.clerk.becomes(publish(t, public("ins_2", clerkKey())))
	w.pass(outageMemory)
	w.wantError(t, w.fresh(t, "ins_1"), ErrInvalid)
}

// breaking panics instead of asking.
type breaking struct{}

func (breaking) RoundTrip(*http.Request) (*http.Response, error) { panic("for a test") }

// TestFetchPanics has a fetch that panics: it ends as one that failed, and not the process.
func TestFetchPanics(t *testing.T) {
	w := parallel(t)
	cfg := w.clerkConfig()
	log := &bytes.Buffer{}
	cfg.Client, cfg.Log = &http.Client{Transport: breaking{}}, slog.New(slog.NewTextHandler(log, nil))
	w.Verifier = build(t, cfg)
	w.wantError(t, w.fresh(t, "ins_1"), event.ErrUnavailable)
	must.Contain(t, log.String(), "panic: ", "keys_test.go")
	must.Lack(t, log.String(), "for a test")
}

// TestFetchOutlivesItsRequest ends the request that began a fetch; the fetch goes on.
func TestFetchOutlivesItsRequest(t *testing.T) {
	w := parallel(t)
	asked, release := make(chan struct{}), make(chan struct{})
	good := publish(t, public("ins_1", clerkKey()))
	w.clerk.becomes(func(rw http.ResponseWriter, r *http.Request) {
		close(asked)
		<-release
		good(rw, r)
	})
	ctx, cancel := context.WithCancel(t.Context())
	left := make(chan error)
	token := w.fresh(t, "ins_1")
	go func() {
		_, err := w.Verify(ctx, token)
		left <- err
	}()
	<-asked
	cancel()
	err := <-left
	must.Fail(t, err, event.ErrUnavailable)
	must.Fail(t, err, context.Canceled)
	close(release)
	w.accept(t, token, "clerk", clerkUser)
	w.clerk.wantCalls(t, 1)
}

func TestManyAtOnceShareOneFetch(t *testing.T) {
	w := parallel(t)
	const many = 20
	token := w.fresh(t, "ins_1")
	good := publish(t, public("ins_1", clerkKey()))
	w.clerk.becomes(func(rw http.ResponseWriter, r *http.Request) {
		time.Sleep(50 * time.Millisecond) // so that the others come while it is under way
		good(rw, r)
	})
	begin := make(chan struct{})
	var all sync.WaitGroup
	for range many {
		all.Go(func() {
			<-begin
			w.accept(t, token, "clerk", clerkUser)
		})
	}
	close(begin)
	all.Wait()
	w.clerk.wantCalls(t, 1)
}

// TestLatecomerDoesNotFetchAgain is for one who saw that a fetch is due, and comes when
// it has just ended.
func TestLatecomerDoesNotFetchAgain(t *testing.T) {
	w := parallel(t)
	w.accept(t, w.fresh(t, "ins_1"), "clerk", clerkUser)
	w.issuers[clerkIssuer].keys.refresh(t.Context(), keyName{id: "ins_1", algorithm: jose.RS256})
	w.clerk.wantCalls(t, 1)
}

// TestConcurrency mixes good, hostile and unknown tokens while keys are rotated and
// withheld; good ones are always believed, whatever goes on beside them.
func TestConcurrency(t *testing.T) {
	w := parallel(t)
	w.accept(t, w.fresh(t, "ins_1"), "clerk", clerkUser)
	foreign := w.clerkDraft()
	foreign.sign = signRSA(foreignKey())
	bad, unknown, good, other := foreign.token(t), w.fresh(t, "ins_9"), w.fresh(t, "ins_1"), w.supabaseDraft().token(t)
	both := publish(t, public("ins_1", clerkKey()), public("ins_2", clerkKey()))
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() {
			for range 50 {
				w.accept(t, good, "clerk", clerkUser)
				w.accept(t, other, "supabase", supabaseUser)
				w.wantError(t, bad, ErrInvalid)
				must.Fail(t, w.refusal(t, unknown), nil)
			}
		})
	}
	for n := range 50 {
		w.clerk.becomes([]http.HandlerFunc{both, text(http.StatusBadGateway, "")}[n%2])
		time.Sleep(time.Millisecond)
		if n == 10 {
			w.pass(fetchFloor)
		}
	}
	all.Wait()
}

// TestOutageIsLogged says once per fetch what is wrong, and nothing of what was answered.
func TestOutageIsLogged(t *testing.T) {
	w := parallel(t)
	var log bytes.Buffer
	cfg := w.clerkConfig()
	cfg.Log = slog.New(slog.NewTextHandler(&log, nil))
	w.Verifier = build(t, cfg)
	w.clerk.becomes(text(http.StatusInternalServerError, "what-was-answered"))
	w.wantError(t, w.fresh(t, "ins_1"), event.ErrUnavailable)
	w.wantError(t, w.fresh(t, "ins_1"), event.ErrUnavailable)
	must.Equal(t, strings.Count(log.String(), "\n"), 1, "lines")
	must.Contain(t, log.String(), "source=clerk", "the answer is 500")
	must.Lack(t, log.String(), "what-was-answered")
}

// TestSameHostRedirect follows a document that was moved on its own host.
func TestSameHostRedirect(t *testing.T) {
	w := parallel(t)
	good := publish(t, public("ins_1", clerkKey()))
	w.clerk.becomes(func(rw http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/moved" {
			http.Redirect(rw, r, "/moved", http.StatusFound)
			return
		}
		good(rw, r)
	})
	w.accept(t, w.fresh(t, "ins_1"), "clerk", clerkUser)
}
