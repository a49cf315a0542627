package api

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"os"
	"strings"
	"sync/atomic"
	"time"

	"github.com/go-chi/chi/v5"

	"rollcall/internal/event"
	"rollcall/internal/postgres/receipts"
	"rollcall/internal/source"
)

// endpoints are the paths of the sources' endpoints.
var endpoints = map[source.Endpoint]string{
	source.Hook:     "/webhooks/{source}",
	source.Database: "/webhooks/{source}/database",
}

// Path is where a source's endpoint is, below the base URL of the public listener.
func Path(name string, d source.Endpoint) string {
	return strings.Replace(endpoints[d], "{source}", name, 1)
}

// delivery is one webhook on its way through: what the log line and the metrics tell.
type delivery struct {
	source   *source.Source
	endpoint source.Endpoint
	arrived  time.Time
	bytes    int
	event    event.Event
	outcome  event.Outcome
	why      *atomic.Pointer[string] // why it is this outcome, once that is known
	slow     bool                    // the body did not come in time
	known    bool                    // the signature or the secret holds
	secret   string                  // the mark of the secret that does
	err      error                   // why the outcome is no success, for the operator
	later    <-chan committed        // what becomes of the event behind the answer; nil when that is known
}

// webhook is the endpoint of a source: it answers after the commit.
func (s *Server) webhook(endpoint source.Endpoint) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		src := s.current.Load().named[chi.URLParam(r, "source")]
		if src == nil || !src.Open(endpoint) {
			writeError(w, http.StatusNotFound, "not_found", "no such source, or this endpoint of it is closed")
			s.logRefused(r, http.StatusNotFound, "reason",
				"no such source, or this endpoint of it has no secret; both are in the configuration")
			return
		}
		started := time.Now()
		d := &delivery{source: src, endpoint: endpoint, arrived: started}
		s.receive(w, r, d)
		status := acknowledge(w, d)
		took := time.Since(started)
		tell := func() {
			s.metrics.delivered(d, took)
			s.count(d)
			s.logDelivery(r.Context(), d, status, took)
		}
		if d.later == nil {
			tell()
			return
		}
		go func() {
			d.settle(<-d.later)
			tell()
		}()
	}
}

// receive carries a request from its body to its outcome.
func (s *Server) receive(w http.ResponseWriter, r *http.Request, d *delivery) {
	body := &metered{server: s}
	defer body.release()
	request := source.Request{Endpoint: d.endpoint, Header: r.Header, ReceivedAt: d.arrived}
	if err := d.source.VerifyHeader(request); err != nil {
		d.refuse(event.Unverified, err) // an unverified body takes no memory
		return
	}
	err := body.read(w, r)
	if err != nil {
		d.refuse(bodyOutcome(err), err)
		d.slow = errors.Is(err, os.ErrDeadlineExceeded)
		return
	}
	d.bytes, request.Body = len(body.text), body.text
	if d.secret, err = d.source.Prove(request); err != nil {
		d.refuse(event.Unverified, err)
		return
	}
	d.known = true
	s.metrics.verified(d)
	d.event = d.source.Decode(request)
	if d.event.Op == event.Ignore {
		d.outcome = event.Ignored
		return
	}
	d.why = new(atomic.Pointer[string])
	d.event.Explain = func(reason string) { d.why.Store(&reason) }
	if rules, has := s.config().Admissions[d.source.Name()]; has && source.Announces(&d.event) {
		s.admit(r.Context(), d, rules, d.source.Announced(request))
		return
	}
	d.outcome, d.err = s.submit(r.Context(), d)
}

// count notes whether a request has verified, and by which secret. What could not be judged counts for neither.
func (s *Server) count(d *delivery) {
	key := receipts.Key{Source: d.source.Name(), Endpoint: receiptsOf[d.endpoint], Secret: d.secret}
	switch {
	case s.config().Receipts == nil || !d.known && d.outcome != event.Unverified:
		return
	case !d.known:
		key.Secret = receipts.Unverified
	}
	s.config().Receipts.Add(key, d.arrived)
}

// receiptsOf are the endpoints as receipts call them.
var receiptsOf = map[source.Endpoint]string{source.Hook: receipts.Webhook, source.Database: receipts.Database}

func (d *delivery) refuse(o event.Outcome, err error) { d.outcome, d.err = o, err }

// submit waits for the outcome even when the sender has gone: the log tells the truth.
// An announced user waits for it at the other end, so that takes a second at most.
func (s *Server) submit(ctx context.Context, d *delivery) (event.Outcome, error) {
	ctx = context.WithoutCancel(ctx)
	if d.event.Op == event.Announce {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, announceWait)
		defer cancel()
	}
	outcome, err := s.config().Submit(ctx, d.event)
	switch {
	case err == nil:
		return outcome, nil
	case d.event.Op == event.Announce && !s.config().Refuse[d.source.Name()]:
		return event.Admitted, err
	default:
		return event.Unavailable, err
	}
}

// announceWait bounds what a sign-up waits for being recorded; Supabase gives all hooks
// of a request 5 s together.
const announceWait = time.Second

func bodyOutcome(err error) event.Outcome {
	var tooLarge *http.MaxBytesError
	switch {
	case errors.As(err, &tooLarge):
		return event.TooLarge
	case errors.Is(err, errBodies):
		return event.Unavailable
	default:
		return event.Malformed
	}
}

// logDelivery writes the one line of a webhook: no body, no secret, no address. The lines of unverified
// webhooks are limited.
func (s *Server) logDelivery(ctx context.Context, d *delivery, status int, took time.Duration) {
	if !d.known && !s.lines.allow("webhook "+d.source.Name()+" "+string(d.outcome)) {
		return
	}
	reason := d.event.Reason
	if reason == "" && d.why != nil && d.why.Load() != nil {
		reason = *d.why.Load()
	}
	fields := []slog.Attr{
		slog.String("source", d.source.Name()),
		slog.String("type", d.kind()),
		slog.String("outcome", string(d.outcome)),
		slog.Int("status", status),
		slog.Float64("seconds", took.Seconds()),
		slog.Int("bytes", d.bytes),
		known("event", d.event.ID),
		known("user", d.event.UserID),
		known("organization", d.event.OrganizationID()),
		known("reason", reason),
	}
	level := logLevel(d.outcome)
	if columns, because := d.event.Kept(); columns != nil {
		fields = append(fields, slog.String("kept", strings.Join(columns, " ")), slog.String("reason", because))
		level = max(level, slog.LevelWarn)
	}
	if d.err != nil {
		fields = append(fields, slog.String("error", d.err.Error()))
	}
	s.config().Log.LogAttrs(ctx, level, "webhook", fields...)
}

// known is a field of a log line, left out where it has no text: slog drops an empty Attr.
func known(key, text string) slog.Attr {
	if text == "" {
		return slog.Attr{}
	}
	return slog.String(key, text)
}

func logLevel(o event.Outcome) slog.Level {
	switch o {
	case event.Unavailable, event.Admitted:
		return slog.LevelError
	case event.Unverified, event.TooLarge, event.Malformed, event.UndecodableBody, event.Parked:
		return slog.LevelWarn
	default:
		return slog.LevelInfo
	}
}

// kind is the type for labels: one of the source's known types, else "other".
func (d *delivery) kind() string {
	if d.event.Type == "" {
		return source.Other
	}
	return d.event.Type
}

// reply is the answer to an outcome. The words are for the sender: never SQL, never a
// secret, nothing that helps a forger.
type reply struct {
	status  int
	message string // the error's words; empty when there is no error
	retry   bool   // a Retry-After header, without which Supabase does not try again
}

// replies maps each outcome to its answer. It is the same at every endpoint: Clerk counts any
// 2xx as delivered and stops calling an endpoint after five days of anything else, and
// Supabase lets a sign-up fail on any other status, so Rollcall refuses only what a retry can
// correct. A 200 with a body is the answer that a hook needs (event.Event.Reply).
var replies = map[event.Outcome]reply{
	event.Applied:         {status: http.StatusNoContent},
	event.Duplicate:       {status: http.StatusNoContent},
	event.Stale:           {status: http.StatusNoContent},
	event.Ignored:         {status: http.StatusNoContent}, // an unknown type stays unknown however often it is sent
	event.Announced:       {status: http.StatusNoContent},
	event.Admitted:        {status: http.StatusNoContent}, // before-user-created fails closed: no answer would be no sign-up
	event.Refused:         {status: http.StatusOK},        // with event.Event.Reply, to which the auth server listens
	event.Parked:          {status: http.StatusNoContent}, // the roll has it, and Rollcall tries the target again
	event.UndecodableBody: {status: http.StatusNoContent}, // it is kept; sending it again changes nothing
	event.Unverified:      {status: http.StatusUnauthorized, message: "the signature or secret of this request is missing, wrong or too old; compare the signing secret here with the one at the provider"},
	event.TooLarge:        {status: http.StatusRequestEntityTooLarge, message: "the body is larger than this server takes"},
	event.Malformed:       {status: http.StatusBadRequest, message: "the body ended before its announced length"},
	event.Unavailable:     {status: http.StatusServiceUnavailable, message: "not recorded; send it again later", retry: true},
}

// tooSlow is the answer to a malformed request whose body did not come in time.
var tooSlow = reply{status: http.StatusRequestTimeout, message: "the body did not arrive in time"}

// internalError is the answer to an outcome without one, and to a handler that panics.
var internalError = reply{
	status: http.StatusInternalServerError, message: "an error of this server; its log has the reason",
}

// OutcomeHeader tells the sender the outcome in one word.
const OutcomeHeader = "Rollcall-Outcome"

// retryAfter is in seconds.
const retryAfter = "1"

// acknowledge writes the answer to a webhook and returns its status.
func acknowledge(w http.ResponseWriter, d *delivery) int {
	r, known := replies[d.outcome]
	code := string(d.outcome)
	switch {
	case !known:
		r, code = internalError, "internal"
	case d.slow:
		r = tooSlow
	}
	w.Header().Set(OutcomeHeader, string(d.outcome))
	if r.retry {
		w.Header().Set("Retry-After", retryAfter)
	}
	switch {
	case r.message != "":
		writeError(w, r.status, code, r.message)
	case d.event.Reply != nil:
		r.status = http.StatusOK
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write(d.event.Reply) // a sender who left has no use for the error
	default:
		w.WriteHeader(r.status)
	}
	return r.status
}

// writeError writes {"error":{"code":…,"message":…}}.
func writeError(w http.ResponseWriter, status int, code, message string) {
	type body struct {
		Code    string `json:"code"`
		Message string `json:"message"`
	}
	writeJSON(w, status, map[string]body{"error": {code, message}})
}

func writeJSON(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	if err := json.NewEncoder(w).Encode(v); err != nil {
		return // a client who left has no use for the rest
	}
}
