package testevent

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"syscall"
	"time"

	"rollcall/api"
	"rollcall/internal/event"
	"rollcall/internal/source"
)

// Request is a signed request. It may be sent any number of times: a provider's retry is
// the same request, a forgery is one with another header or body.
type Request struct {
	Source   *source.Source
	Endpoint source.Endpoint
	Header   http.Header
	Body     []byte
}

// Seal signs a body as the source's provider would at this moment.
func Seal(src *source.Source, endpoint source.Endpoint, body []byte) (Request, error) {
	header, err := src.Sign(endpoint, body)
	if err != nil {
		return Request{}, err
	}
	return Request{src, endpoint, header, body}, nil
}

// url is where the request goes at a receiver.
func (r Request) url(base string) string { return base + api.Path(r.Source.Name(), r.Endpoint) }

// Event returns the event that the receiver reads in the request.
func (r Request) Event() event.Event {
	return r.Source.Decode(source.Request{Endpoint: r.Endpoint, Header: r.Header, Body: r.Body})
}

// Announced is the user that an announcement is about.
func (r Request) Announced() *event.User {
	return r.Source.Announced(source.Request{Endpoint: r.Endpoint, Header: r.Header, Body: r.Body})
}

// Answer is what a receiver answers to a request.
type Answer struct {
	Status  int
	Outcome string // one of event.Outcome; empty when it isn't Rollcall that answers
	Body    []byte
	Took    time.Duration
}

// Accepted reports whether a provider would take the status for success.
func (a Answer) Accepted() bool { return a.Status >= 200 && a.Status < 300 }

// Complaint returns the message of an answer that refuses; "" when there is none.
func (a Answer) Complaint() string {
	var refusal struct {
		Error struct {
			Message string `json:"message"`
		} `json:"error"`
	}
	if json.Unmarshal(a.Body, &refusal) != nil {
		return ""
	}
	return refusal.Error.Message
}

// Sender posts requests to a receiver.
type Sender struct {
	base   string
	client *http.Client
}

const (
	// answerTimeout is how long Clerk waits; Supabase gives up after 5 s.
	answerTimeout = 15 * time.Second
	// answerLimit is what is read of an answer; Supabase takes 200 KiB.
	answerLimit = 1 << 20
)

// NewSender makes a sender that posts to a base URL: scheme://host:port, with a path where the receiver is below
// one.
func NewSender(base string) *Sender {
	return &Sender{base: base, client: &http.Client{
		Timeout: answerTimeout,
		// A provider doesn't follow redirects with its POST, or not as one: show them.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

// Post sends a request and returns the answer, whatever its status. An error means that there was none; Unreached
// explains it.
func (s *Sender) Post(ctx context.Context, r Request) (Answer, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, r.url(s.base), bytes.NewReader(r.Body))
	if err != nil {
		return Answer{}, err
	}
	request.Header = r.Header.Clone()
	started := time.Now()
	response, err := s.client.Do(request)
	if err != nil {
		return Answer{}, Unreached(s.base, err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(io.LimitReader(response.Body, answerLimit))
	if err != nil {
		return Answer{}, Unreached(s.base, err)
	}
	return Answer{
		Status: response.StatusCode, Outcome: response.Header.Get(api.OutcomeHeader),
		Body: body, Took: time.Since(started),
	}, nil
}

// Unreached explains why a receiver at a base URL gave no answer, and what to do. err is that of Sender.Post.
func Unreached(base string, err error) error {
	var failed *url.Error
	if errors.As(err, &failed) {
		err = failed.Err // without the URL, which we name ourselves
	}
	shown := strings.TrimSuffix(base, "/")
	switch {
	case errors.Is(err, context.Canceled):
		return fmt.Errorf("post to %s: %w", shown, err)
	case errors.Is(err, syscall.ECONNREFUSED):
		return fmt.Errorf("no program listens at %s; start rollcall serve, or name another address with --url: %w", shown, err)
	case failed != nil && failed.Timeout():
		return fmt.Errorf("%s gave no answer within %s: %w", shown, answerTimeout, err)
	}
	return fmt.Errorf("post to %s, which --url or listen names: %w", shown, err)
}
