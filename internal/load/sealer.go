package load

import (
	"cmp"
	"context"
	"fmt"
	"math/rand/v2"
	"strconv"
	"time"

	"rollcall/api"
	"rollcall/internal/source"
	"rollcall/internal/testevent"
)

// request is a signed one, as the bytes to be written.
type request struct {
	kind   Kind
	number int64 // counted from 0, over the whole run
	raw    []byte
	sealed time.Time
	again  func(body []byte) ([]byte, error) // signs the body once more
	body   int                               // where it begins in raw
}

// fresh is how old a signature may be when it's sent; after five minutes it is refused.
const fresh = 4 * time.Minute

// renew signs a request anew that has waited for too long.
func (q *request) renew(now time.Time) (err error) {
	if now.Sub(q.sealed) > fresh {
		q.sealed = now
		q.raw, err = q.again(q.raw[q.body:])
	}
	return err
}

// sealer makes the requests of a run, one after the other. It belongs to one goroutine.
type sealer struct {
	source  *source.Source
	run     uint32
	people  *population
	events  [kinds]*envelope
	scratch []byte
	number  int64
}

// envelope is how the events of a kind are sent.
type envelope struct {
	source   *source.Source
	template testevent.Template
	head     string // request line and the headers that are always the same
}

func newSealer(cfg Config) (*sealer, error) {
	s := &sealer{
		source: cfg.Source, run: cfg.Run,
		people: &population{mix: cfg.Mix, limit: cfg.Users, lag: 2 * cfg.Connections,
			rand: rand.New(rand.NewPCG(uint64(cfg.Run), 0))}, //nolint:gosec // who is picked is no secret
	}
	for k := range kinds {
		template, err := templateOf(cfg.Source, k)
		switch {
		case err == nil:
			s.events[k] = &envelope{cfg.Source, template, head(cfg, template.Endpoint)}
		case cfg.Mix[k] > 0 || k == Created:
			return nil, err
		default: // where there are enough users, a user who is created once more is updated
			s.events[k] = s.events[Created]
		}
	}
	return s, nil
}

// ClosedError means that events of a kind have to come through an endpoint without a secret.
type ClosedError struct {
	Source   *source.Source
	Endpoint source.Endpoint
	Kind     Kind
}

func (e *ClosedError) Error() string {
	return fmt.Sprintf("the %s endpoint of source %s has no secret and is closed, so no user can be %s through it; add the secret", e.Endpoint, e.Source.Name(), e.Kind)
}

// clerkEvents are the events that say so at Clerk.
var clerkEvents = [kinds]string{
	"user.created", "user.updated", "user.deleted",
	"organizationMembership.created", "organizationMembership.updated", "organizationMembership.deleted",
}

// templateOf finds the event of a kind that comes through an open endpoint.
func templateOf(src *source.Source, k Kind) (testevent.Template, error) {
	if src.Provider() == source.Clerk {
		return openTemplate(src, clerkEvents[k])
	}
	switch {
	case k > Deleted:
		return testevent.Template{}, fmt.Errorf("--mix %s: source %s is of %s, and only Clerk has organizations", k, src.Name(), src.Provider())
	case k == Created && src.Open(source.Hook):
		return openTemplate(src, "after-user-created")
	case k == Created:
		return openTemplate(src, "database.insert")
	case !src.Open(source.Database):
		return testevent.Template{}, &ClosedError{Source: src, Endpoint: source.Database, Kind: k}
	case k == Updated:
		return openTemplate(src, "database.update")
	}
	return openTemplate(src, "database.delete")
}

func openTemplate(src *source.Source, name string) (testevent.Template, error) {
	template, ok := testevent.NewTemplate(src, name)
	if !ok {
		return testevent.Template{}, fmt.Errorf("source %s has no built-in event %s", src.Name(), name)
	}
	if !src.Open(template.Endpoint) {
		return testevent.Template{}, &ClosedError{Source: src, Endpoint: template.Endpoint, Kind: Created}
	}
	return template, nil
}

func head(cfg Config, endpoint source.Endpoint) string {
	return fmt.Sprintf("POST %s%s HTTP/1.1\r\nHost: %s\r\nUser-Agent: rollcall-load\r\n", cfg.To.url.EscapedPath(), api.Path(cfg.Source.Name(), endpoint), cfg.To.url.Host)
}

// next makes and signs a request.
func (s *sealer) next(now time.Time) (*request, error) {
	kind, user := s.people.next()
	e := s.events[kind]
	s.scratch = e.template.Append(s.scratch[:0], person(s.source.Provider(), s.run, user, s.number), now)
	raw, err := e.seal(s.scratch)
	if err != nil {
		return nil, err
	}
	q := &request{kind: kind, number: s.number, raw: raw, body: len(raw) - len(s.scratch), sealed: now, again: e.seal}
	s.number++
	return q, nil
}

// seal signs a body and writes the request down.
func (e *envelope) seal(body []byte) ([]byte, error) {
	header, err := e.source.Sign(e.template.Endpoint, body)
	if err != nil {
		return nil, err
	}
	const headers = 512 // about what they take
	raw := append(make([]byte, 0, len(e.head)+headers+len(body)), e.head...)
	for name, values := range header {
		raw = append(append(append(append(raw, name...), ": "...), values[0]...), "\r\n"...)
	}
	raw = append(append(raw, "Content-Length: "...), strconv.Itoa(len(body))...)
	return append(append(raw, "\r\n\r\n"...), body...), nil
}

const (
	// aheadRequests is how many are made ahead by default, some 3 kB each.
	aheadRequests = 1 << 13
	// refill is how often it's looked whether more can be made. Being woken for each
	// would cost more than making one.
	refill = 5 * time.Millisecond
)

// prepare makes what there is room for, or all if that's less, and goes on with the rest
// while the first are sent, until the context ends.
func prepare(ctx context.Context, s *sealer, cfg Config) (<-chan *request, error) {
	limit := cfg.requests()
	ahead := make(chan *request, cmp.Or(cfg.Ahead, aheadRequests))
	if err := s.fill(ctx, ahead, limit); err != nil || s.number == limit {
		close(ahead)
		return ahead, err
	}
	go func() {
		defer close(ahead)
		for room := time.Tick(refill); ; {
			select {
			case <-ctx.Done():
				return
			case <-room:
			}
			if s.fill(ctx, ahead, limit) != nil || s.number == limit { // what could be signed once can be signed again
				return
			}
		}
	}()
	return ahead, nil
}

// fill makes requests until there is no room, all are made, or the context ends. It's the only sender, so
// room that is there stays.
func (s *sealer) fill(ctx context.Context, ahead chan<- *request, limit int64) error {
	for ctx.Err() == nil && len(ahead) < cap(ahead) && (limit == 0 || s.number < limit) {
		q, err := s.next(time.Now())
		if err != nil {
			return fmt.Errorf("make a request: %w", err)
		}
		ahead <- q
	}
	return nil
}
