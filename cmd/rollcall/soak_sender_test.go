package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"sync"
	"testing"
	"time"

	"rollcall/internal/event"
	"rollcall/internal/source"
)

// account is what the senders said about a user, and what of it was acknowledged.
type account struct{ said, acknowledged []state }

// ledger is the senders' own list, which the tables are held against in the end.
type ledger struct {
	mu           sync.Mutex
	accounts     map[string]*account // by source and id
	answers      map[string]float64  // by the name of the metric that counts them
	sent         int
	acknowledged int
}

func newLedger() *ledger {
	return &ledger{accounts: map[string]*account{}, answers: map[string]float64{}}
}

func (l *ledger) account(m message) *account {
	key := m.source + " " + m.user
	if l.accounts[key] == nil {
		l.accounts[key] = &account{}
	}
	return l.accounts[key]
}

func (l *ledger) say(m message) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.sent++
	a := l.account(m)
	a.said = append(a.said, m.state)
}

// note writes an answer down and reports whether it says that the message is recorded.
func (l *ledger) note(m message, r reply) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.answers[webhooksTotal(m.source, m.kind(), r.outcome)]++
	recorded := r.status/100 == 2 && slices.Contains([]event.Outcome{event.Applied, event.Parked, event.Duplicate, event.Stale}, event.Outcome(r.outcome))
	if a := l.account(m); recorded && !slices.Contains(a.acknowledged, m.state) {
		l.acknowledged++
		a.acknowledged = append(a.acknowledged, m.state)
	}
	return recorded
}

func webhooksTotal(source, kind, outcome string) string {
	return fmt.Sprintf(`rollcall_webhooks_total{outcome=%q,source=%q,type=%q}`, outcome, source, kind)
}

// form is a state as the queries of the soak print it.
func (s state) form() string {
	if s.dead {
		return "dead"
	}
	return s.email + " " + s.name
}

// ended reports whether a delete was acknowledged: it is final.
func (a *account) ended() bool {
	return slices.ContainsFunc(a.acknowledged, func(s state) bool { return s.dead })
}

// possible reports whether a user may be in the roll in a form: as the newest that was
// acknowledged says, or as anything newer that was said and never acknowledged. "" is absent.
func (a *account) possible(form string) bool {
	if a.ended() {
		return form == "dead"
	}
	newest := int64(0)
	for _, s := range a.acknowledged {
		newest = max(newest, s.version)
	}
	if newest == 0 && form == "" {
		return true
	}
	return slices.ContainsFunc(a.said, func(s state) bool { return s.form() == form && (s.dead || s.version >= newest) })
}

// providers send as Svix and as Supabase do, to whichever replica comes next.
type providers struct {
	t      *testing.T
	post   *postman
	book   *ledger
	bases  func() string // where the next request goes
	give   context.Context
	silent chan struct{} // closed when no new story begins
}

// try sends a message once and reports whether it was acknowledged.
func (p *providers) try(ctx context.Context, m message, id string) (reply, bool, error) {
	r, err := p.post.post(ctx, m, p.bases(), id)
	if err != nil {
		return r, false, err
	}
	ok := p.book.note(m, r)
	if !ok && r.status != http.StatusServiceUnavailable {
		p.t.Errorf("%s of %s %s: got %d %s", m.kind(), m.source, m.user, r.status, r.outcome)
	}
	return r, ok, nil
}

// svix tries under the same id until the answer is 2xx, as Svix does over hours; here the
// pauses are short.
func (p *providers) svix(m message) {
	_, _, id := m.body()
	for p.give.Err() == nil {
		ctx, cancel := context.WithTimeout(p.give, 15*time.Second) // Svix's own limit
		_, ok, _ := p.try(ctx, m, id)
		cancel()
		if ok {
			return
		}
		time.Sleep(100*time.Millisecond + rand.N(400*time.Millisecond))
	}
	p.t.Errorf("%s of %s was never acknowledged", m.kind(), m.user)
}

// supabase tries three times within five seconds, each under a new id: at once after a 503
// with Retry-After, after two seconds without a connection, and never after a slow answer.
func (p *providers) supabase(m message) {
	ctx, cancel := context.WithTimeout(p.give, 5*time.Second)
	defer cancel()
	for range 3 {
		r, ok, err := p.try(ctx, m, "")
		switch {
		case ok || ctx.Err() != nil || err == nil && r.retryAfter == "":
			return
		case err != nil:
			time.Sleep(2 * time.Second)
		}
	}
}

// database tries once: pg_net neither repeats nor waits for long.
func (p *providers) database(m message) {
	ctx, cancel := context.WithTimeout(p.give, 5*time.Second)
	defer cancel()
	_, _, _ = p.try(ctx, m, "") // what is lost here is not sent again
}

func (p *providers) send(m message) {
	_, endpoint, _ := m.body()
	switch {
	case m.source == "clerk":
		p.svix(m)
	case endpoint == source.Database:
		p.database(m)
	default:
		p.supabase(m)
	}
}

// life is the story of a user: a sign-up, up to four updates, often a delete.
func life(source, user string) []message {
	var all []message
	last := int64(1 + rand.N(5))
	for v := int64(1); v <= last; v++ {
		all = append(all, message{source, user, state{version: v, email: fmt.Sprintf("%s.%d@%s.test", user, v, source), name: fmt.Sprint("v", v)}})
	}
	if rand.N(3) == 0 {
		all = append(all, message{source, user, state{version: last + 1, dead: true}})
	}
	return all
}

// tell sends a story, its messages at once or nearly so: in no particular order.
// Now and then one comes once more.
func (p *providers) tell(messages []message) {
	var under sync.WaitGroup
	for n, m := range messages {
		under.Go(func() {
			time.Sleep(rand.N(time.Duration(1+n) * 40 * time.Millisecond))
			p.book.say(m)
			p.send(m)
			if rand.N(10) == 0 {
				p.send(m)
			}
		})
	}
	under.Wait()
}

// run tells stories of one source until it is silent, and returns when all are told.
func (p *providers) run(source string) {
	const tellers = 8
	var working sync.WaitGroup
	for teller := range tellers {
		working.Go(func() {
			for n := 0; ; n++ {
				select {
				case <-p.silent:
					return
				case <-time.After(rand.N(100 * time.Millisecond)):
					p.tell(life(source, fmt.Sprintf("t%d_u%d", teller, n)))
				}
			}
		})
	}
	working.Wait()
}
