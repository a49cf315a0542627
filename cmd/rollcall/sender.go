package main

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

// parcel is a signed request. It may be sent any number of times: a provider's retry is
// the same parcel, a forgery is one with another header or body.
type parcel struct {
	source *source.Source
	door   source.Door
	header http.Header
	body   []byte
}

// seal signs a body as the source's provider would at this moment.
func seal(src *source.Source, door source.Door, body []byte) (parcel, error) {
	header, err := src.Sign(door, body)
	if err != nil {
		return parcel{}, err
	}
	return parcel{src, door, header, body}, nil
}

// url is where the parcel goes at a receiver.
func (p parcel) url(base string) string { return base + api.Path(p.source.Name(), p.door) }

// event is what the receiver will read in the parcel.
func (p parcel) event() event.Event {
	return p.source.Decode(source.Request{Door: p.door, Header: p.header, Body: p.body})
}

// answer is what a receiver says to a parcel.
type answer struct {
	status  int
	outcome string // one of event.Outcome; empty when it isn't Rollcall that answers
	body    []byte
	took    time.Duration
	parked  map[string]string // why, by target; as far as it is known
}

// accepted is what a provider would take for success.
func (a answer) accepted() bool { return a.status >= 200 && a.status < 300 }

// complaint is the message of an answer that refuses, empty when there is none.
func (a answer) complaint() string {
	var refusal struct {
		Error struct {
			Message string `json:"message"`
		} `json:"error"`
	}
	if json.Unmarshal(a.body, &refusal) != nil {
		return ""
	}
	return refusal.Error.Message
}

// sender posts parcels to a receiver.
type sender struct {
	base   string // scheme://host:port, and a path when the receiver lives below one
	client *http.Client
}

const (
	// answerTimeout is how long Clerk waits; Supabase gives up after 5 s.
	answerTimeout = 15 * time.Second
	// answerLimit is what is read of an answer; Supabase takes 200 KiB.
	answerLimit = 1 << 20
)

func newSender(base string) *sender {
	return &sender{base: base, client: &http.Client{
		Timeout: answerTimeout,
		// A provider doesn't follow redirects with its POST, or not as one: show them.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

// post delivers a parcel and waits for the answer, whatever its status.
func (s *sender) post(ctx context.Context, p parcel) (answer, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, p.url(s.base), bytes.NewReader(p.body))
	if err != nil {
		return answer{}, err
	}
	request.Header = p.header.Clone()
	started := time.Now()
	response, err := s.client.Do(request)
	if err != nil {
		return answer{}, s.unreached(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(io.LimitReader(response.Body, answerLimit))
	if err != nil {
		return answer{}, s.unreached(err)
	}
	return answer{
		status: response.StatusCode, outcome: response.Header.Get(api.OutcomeHeader),
		body: body, took: time.Since(started),
	}, nil
}

// unreached says why there is no answer, and what to do.
func (s *sender) unreached(err error) error {
	var failed *url.Error
	if errors.As(err, &failed) {
		err = failed.Err // without the URL, which we name ourselves
	}
	shown := strings.TrimSuffix(s.base, "/")
	switch {
	case errors.Is(err, context.Canceled):
		return fmt.Errorf("post to %s: %w", shown, err)
	case errors.Is(err, syscall.ECONNREFUSED):
		return fmt.Errorf("nobody listens at %s; is rollcall serve running? Start it, or name another address with --url: %w", shown, err)
	case failed != nil && failed.Timeout():
		return fmt.Errorf("%s gave no answer within %s: %w", shown, answerTimeout, err)
	}
	return fmt.Errorf("post to %s, which --url or listen names: %w", shown, err)
}
