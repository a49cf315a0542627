// Package notify says transitions to applications: by a webhook, signed as Standard Webhooks are, or on a channel of
// PostgreSQL. It hides what is sent, how often it is tried, and to which addresses nothing is sent:
//
//	to := notify.New(notify.Config{Query: transitions.Query{Name: "welcome"}, URL: url, Secrets: secrets, Log: log})
//	err := to.Run(ctx, transitions.New(pool))
package notify

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"rollcall/internal/postgres/sqlstate"
	"rollcall/internal/postgres/transitions"
)

// Config is one notification of the configuration.
type Config struct {
	transitions.Query

	// URL is where it is sent to, and Secrets (whsec_…) sign it, all of them. AllowPrivate lets the address be one that
	// is not public. Without a URL it is said on Channel.
	URL          string
	Secrets      []string
	AllowPrivate bool
	Channel      string
	// Observe is told what became of an attempt; may be nil.
	Observe func(name, outcome string)
	Log     *slog.Logger

	resolver *net.Resolver // of tests
}

// Retried is what Observe is told of an attempt that is repeated; else it is told a final state.
const Retried = "retried"

// Outcomes are all that Observe may be told.
var Outcomes = []string{transitions.Delivered, Retried, transitions.Failed, transitions.Skipped}

const (
	// RunTime is for how long a run begins attempts.
	RunTime = 20 * time.Second
	// Timeout bounds a run.
	Timeout = RunTime + attemptTime + 10*time.Second
	// atOnce is how many requests are under way to an endpoint.
	atOnce = 8
	// batch is how many notifications are read at once for an endpoint, and large for a channel, which takes them all.
	batch = 64
	large = 1000
	// noteTime bounds the note of what became of an attempt, which is made during a shutdown, too.
	noteTime = 5 * time.Second
	// maxSaid is what pg_notify takes, in bytes.
	maxSaid = 7999
)

// schedule is svix's: the pause after each attempt that failed. After the last one it is given up.
var schedule = []time.Duration{
	5 * time.Second, 5 * time.Minute, 30 * time.Minute, 2 * time.Hour, 5 * time.Hour, 10 * time.Hour, 10 * time.Hour,
}

// Notifier says the notifications of one name.
type Notifier struct {
	Config

	endpoint *endpoint  // nil for a channel
	noting   sync.Mutex // one connection to the database at a time, however many answer at once
}

// New makes a notifier. A secret that is none is an error.
func New(cfg Config) (*Notifier, error) {
	n := &Notifier{Config: cfg}
	if cfg.Observe == nil {
		n.Observe = func(string, string) {}
	}
	if cfg.URL == "" {
		return n, nil
	}
	var err error
	n.endpoint, err = newEndpoint(cfg)
	return n, err
}

// Close ends idle connections.
func (n *Notifier) Close() {
	if n.endpoint != nil {
		n.endpoint.client.CloseIdleConnections()
	}
}

// body is what is said.
type body struct {
	Type      string                     `json:"type"`
	Timestamp time.Time                  `json:"timestamp"`
	Data      map[string]json.RawMessage `json:"data"`
}

// text is a message as JSON. The keys of data are sorted, so that each attempt says the same.
func text(m transitions.Message) ([]byte, error) {
	data := map[string]json.RawMessage{}
	if err := json.Unmarshal(m.Payload, &data); err != nil {
		return nil, fmt.Errorf("read the payload: %w", err)
	}
	for key, value := range map[string]string{"source": m.Source, "id": m.RowID} {
		encoded, err := json.Marshal(value)
		if err != nil {
			return nil, fmt.Errorf("write %s: %w", key, err)
		}
		data[key] = encoded
	}
	return json.Marshal(body{m.Type, m.At.UTC(), data})
}

// Run says what is due, until nothing is, its time is over, or the endpoint wants a pause.
func (n *Notifier) Run(ctx context.Context, log transitions.Log) error {
	for end := time.Now().Add(RunTime); time.Now().Before(end); {
		due, err := log.Due(ctx, n.Query, n.batch())
		if err != nil {
			return err
		}
		again, err := n.say(ctx, log, due, end)
		if err != nil || !again {
			return err
		}
	}
	return nil
}

func (n *Notifier) batch() int {
	if n.endpoint == nil {
		return large
	}
	return batch
}

// say says what is due and reports whether there may be more. What can't be said is noted.
func (n *Notifier) say(ctx context.Context, log transitions.Log, due []transitions.Message, end time.Time) (again bool, err error) {
	var wanted []message
	for _, m := range due {
		content, err := text(m)
		switch {
		case sqlstate.Of(m.Err) == sqlstate.QueryCanceled: // or the database is slow
			err = n.note(ctx, log, m, attempt{err: errors.New("where was canceled: " + sqlstate.Text(m.Err))}.result(m.Attempts+1))
		case m.Err != nil:
			err = n.note(ctx, log, m, transitions.Result{State: transitions.Failed, Error: "where has no value: " + sqlstate.Text(m.Err)})
		case err != nil:
			err = n.note(ctx, log, m, transitions.Result{State: transitions.Failed, Error: err.Error()})
		case !m.Wanted:
			err = n.note(ctx, log, m, transitions.Result{State: transitions.Skipped})
		default:
			wanted = append(wanted, message{m, content})
		}
		if err != nil {
			return false, err
		}
	}
	full := len(due) == n.batch()
	if n.endpoint == nil {
		return full, n.onChannel(ctx, log, wanted)
	}
	all, err := n.toEndpoint(ctx, log, wanted, end)
	return full && all, err
}

// message is one to be said, and its text.
type message struct {
	transitions.Message

	content []byte
}

func (n *Notifier) onChannel(ctx context.Context, log transitions.Log, list []message) error {
	var said []transitions.Said
	for _, m := range list {
		if len(m.content) > maxSaid {
			r := transitions.Result{State: transitions.Failed, Error: fmt.Sprintf("it has %d bytes, and PostgreSQL takes %d; leave columns out of payload", len(m.content), maxSaid)}
			if err := n.note(ctx, log, m.Message, r); err != nil {
				return err
			}
			continue
		}
		said = append(said, transitions.Said{ID: m.ID, Text: string(m.content)})
	}
	if len(said) == 0 {
		return nil
	}
	err := log.Say(ctx, n.Channel, said)
	for range said {
		if err == nil {
			n.Observe(n.Name, transitions.Delivered)
		}
	}
	return err
}

// Bound gives up notifications that wait where they are too many, or have waited for too long, and logs how many.
func Bound(ctx context.Context, log transitions.Log, observe func(name, outcome string), to *slog.Logger) error {
	lost, err := log.Bound(ctx)
	for name, count := range lost {
		to.Error("too many notifications wait, or for too long; the oldest are given up", "notification", name, "given_up", count)
		for range count {
			observe(name, transitions.Failed)
		}
	}
	return err
}

// toEndpoint sends messages, and reports whether it has sent all of them and the endpoint wants no pause.
func (n *Notifier) toEndpoint(ctx context.Context, log transitions.Log, list []message, end time.Time) (all bool, err error) {
	all = true
	group, working := errgroup.WithContext(ctx)
	group.SetLimit(atOnce)
	var pause atomic.Int64 // the longest that was asked for
	for _, m := range list {
		if time.Now().After(end) || working.Err() != nil {
			all = false
			break
		}
		group.Go(func() error {
			if pause.Load() > 0 {
				return nil
			}
			a := n.endpoint.attempt(working, m.ID, m.content)
			if a.err != nil && working.Err() != nil { // a shutdown, which says nothing about the endpoint
				return context.Cause(working)
			}
			for asked := int64(a.pause); ; {
				longest := pause.Load()
				if asked <= longest || pause.CompareAndSwap(longest, asked) {
					return n.note(ctx, log, m.Message, a.result(m.Attempts+1))
				}
			}
		})
	}
	err = group.Wait()
	if asked := time.Duration(pause.Load()); err == nil && asked > 0 { // of all, not only of what was answered so
		all, err = false, log.Pause(ctx, n.Name, asked)
	}
	return all, err
}

// note notes what became of a message.
func (n *Notifier) note(ctx context.Context, log transitions.Log, m transitions.Message, r transitions.Result) error {
	n.noting.Lock()
	defer n.noting.Unlock()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), noteTime)
	defer cancel()
	r.ID = m.ID
	r.Error = strings.ToValidUTF8(strings.ReplaceAll(r.Error, "\x00", ""), "")
	if r.State == transitions.Skipped || r.Attempts == 0 {
		r.Attempts = m.Attempts
	}
	if err := log.End(ctx, r); err != nil {
		return err
	}
	outcome := r.State
	if outcome == transitions.Pending {
		outcome = Retried
	}
	n.Observe(n.Name, outcome)
	if outcome == transitions.Failed {
		n.Log.Error("a notification is given up", "notification", n.Name, "id", m.ID, "type", m.Type, "attempts", r.Attempts, "error", r.Error)
	}
	return nil
}

// attempt is what became of one.
type attempt struct {
	status int
	after  time.Duration // Retry-After; 0 for none
	err    error
	pause  time.Duration // of all that is sent there
}

// result is what follows from the n-th attempt.
func (a attempt) result(n int) transitions.Result {
	r := transitions.Result{Attempts: n}
	switch {
	case a.err == nil && a.status/100 == 2:
		r.State = transitions.Delivered
		return r
	case a.err != nil:
		r.Error = a.err.Error()
	case a.status/100 == 3:
		r.Error = fmt.Sprintf("status %d: redirects are not followed; configure where it leads to", a.status)
	default:
		r.Error = fmt.Sprintf("status %d", a.status)
	}
	if a.status == 410 || n > len(schedule) {
		r.State = transitions.Failed
		return r
	}
	r.State, r.After = transitions.Pending, max(schedule[n-1], a.after)
	return r
}
