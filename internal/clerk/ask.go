package clerk

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"rollcall/internal/event"
	"rollcall/internal/rawjson"
)

// ErrGone says that the provider has no such user, organisation or membership.
var ErrGone = errors.New("the provider has none with this id")

// ErrDisabled says that the instance has no organisations: they are not enabled.
var ErrDisabled = errors.New("organizations are not enabled at this instance")

// ErrRefused says that the provider refuses the key: it is wrong, or another instance's.
var ErrRefused = errors.New("the provider refuses the key: give the source the secret key of its instance")

var (
	// errRejected is any other answer that asking again would not change.
	errRejected = errors.New("the provider rejects the request")
	// errPausing and errAnswer are what waiting mends.
	errPausing = fmt.Errorf("the provider asked to be left alone: %w", event.ErrUnavailable)
	errTimeout = fmt.Errorf("no answer within %v", askTimeout)
	errAnswer  = fmt.Errorf("no answer that could be used: %w", event.ErrUnavailable)
)

const (
	// askTimeout is how long one request may take.
	askTimeout = 10 * time.Second
	// maxRowAnswer and maxPageAnswer bound an answer's size in bytes. A real user has
	// some thousands; 500 of those with all the metadata they may have stay below 20 MiB.
	maxRowAnswer  = 4 << 20
	maxPageAnswer = 32 << 20
	// maxProblem bounds an answer that is no 200.
	maxProblem = 64 << 10
	// maxRetryAfter bounds what a provider may ask for.
	maxRetryAfter = time.Minute
)

// apiError says why there is no answer. It holds neither the key, nor an id, nor anything
// of an answer's body.
type apiError struct {
	// request is the method and the pattern of the path.
	request string
	// status is the answer's, 0 when there was none.
	status int
	// after is how long the provider asked to be left alone.
	after time.Duration
	// kind is ErrGone, ErrDisabled, ErrRefused, errRejected, errPausing or errAnswer.
	kind error
	// cause is what failed on the way; nil when there was an answer.
	cause error
}

func (e *apiError) Error() string {
	text := "Clerk's API: " + e.request + ": "
	if e.status != 0 {
		text += strconv.Itoa(e.status) + " " + http.StatusText(e.status) + ": "
	}
	text += e.kind.Error()
	if e.cause != nil {
		text += ": " + e.cause.Error()
	}
	return text
}

func (e *apiError) Unwrap() []error {
	if e.cause == nil {
		return []error{e.kind}
	}
	return []error{e.kind, e.cause}
}

// RetryAfter is how long the provider asked to be left alone, a minute at most; 0 when it
// said nothing.
func (e *apiError) RetryAfter() time.Duration { return e.after }

// question is one request.
type question struct {
	// name is the method and the pattern of the path, for errors.
	name string
	// path and query follow the API's base.
	path, query string
	// most is the largest answer that is read, in bytes.
	most int64
	// one: the path names one thing, which may not exist.
	one bool
	// feature: the path belongs to a feature that may not be enabled.
	feature bool
}

// unreadable is the error of an answer that came and makes no sense.
func (q question) unreadable(what string) error {
	return &apiError{request: q.name, status: http.StatusOK, kind: errAnswer, cause: errors.New(what)}
}

// failed is the error of a request without an answer, or with half of one.
func (q question) failed(err error) error {
	// net/http puts the address, with the id of a user, in front.
	if wrapped, ok := errors.AsType[*url.Error](err); ok {
		err = wrapped.Err
	}
	_, certificate := errors.AsType[*tls.CertificateVerificationError](err)
	// net/http quotes what it can't read of an answer.
	if !certificate && strings.Contains(err.Error(), `"`) {
		err = errors.New("the answer is no HTTP, or the request can't be sent")
	}
	return &apiError{request: q.name, kind: errAnswer, cause: err}
}

// ask tries once and returns the body of a 200.
func (a *API) ask(ctx context.Context, q question) ([]byte, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, askTimeout, errTimeout)
	defer cancel()
	request, err := a.request(ctx, q)
	if err != nil {
		return nil, err
	}
	response, err := a.client.Do(request)
	if err != nil {
		return nil, q.failed(timedOut(ctx, err))
	}
	defer response.Body.Close()
	most := q.most
	if response.StatusCode != http.StatusOK {
		most = maxProblem
	}
	body, err := io.ReadAll(io.LimitReader(response.Body, most+1))
	switch {
	case response.StatusCode != http.StatusOK:
		return nil, a.refusal(q, response, body)
	case err != nil:
		return nil, q.failed(timedOut(ctx, err))
	case int64(len(body)) > most:
		return nil, q.unreadable(fmt.Sprintf("the answer exceeds %d MiB", most>>20))
	}
	return body, nil
}

// timedOut tells the end of a request's own time from that of the caller's.
func timedOut(ctx context.Context, err error) error {
	if cause := context.Cause(ctx); errors.Is(cause, errTimeout) {
		return cause
	}
	return err
}

func (a *API) request(ctx context.Context, q question) (*http.Request, error) {
	address := a.url + q.path
	if q.query != "" {
		address += "?" + q.query
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, address, http.NoBody)
	if err != nil {
		return nil, &apiError{request: q.name, kind: errRejected, cause: errors.New("the address of the API is no URL")}
	}
	request.Header.Set("Authorization", "Bearer "+a.key)
	request.Header.Set("Accept", "application/json")
	request.Header.Set("Clerk-API-Version", apiVersion)
	request.Header.Set("User-Agent", "rollcall")
	return request, nil
}

// refusal sorts the answers that are no 200 by what can be done about them.
func (a *API) refusal(q question, r *http.Response, body []byte) error {
	e := &apiError{request: q.name, status: r.StatusCode, kind: errAnswer}
	switch code := r.StatusCode; {
	case code == http.StatusTooManyRequests:
		e.kind = errPausing
		e.after = retryAfter(r.Header)
		a.pauseFor(e.after)
	case code == http.StatusServiceUnavailable:
		e.after = retryAfter(r.Header)
	case q.feature && notEnabled(code, body):
		e.kind = ErrDisabled
	case code == http.StatusUnauthorized || code == http.StatusForbidden:
		e.kind = ErrRefused
	case code == http.StatusNotFound && q.one:
		e.kind, e.cause = absent(body)
	case code >= 300 && code < 400:
		e.kind, e.cause = errRejected, errors.New("redirects are not followed: see whether the address of the API is right")
	case code == http.StatusRequestTimeout || code == http.StatusTooEarly:
	case code >= 400 && code < 500:
		e.kind = errRejected
	}
	return e
}

// absent tells what a 404 says about one row. A proxy's page says nothing. Whether the address is right at all is
// checked before anything is deleted: the API must know others.
func absent(body []byte) (kind, cause error) {
	if isPage(body) || len(body) > maxProblem {
		return errAnswer, errors.New("a web page answers instead of Clerk: see whether the address of the API is right")
	}
	return ErrGone, nil
}

// notEnabled reports whether an answer is Clerk's own, and says that a feature is not there for a key that has listed
// the users before.
func notEnabled(status int, body []byte) bool {
	return (status == http.StatusForbidden || status == http.StatusNotFound) && errorCode(body) != ""
}

// errorCode is the code of the first of Clerk's errors, "" for another answer.
func errorCode(body []byte) string {
	errors := rawjson.Into(rawjson.Member(rawjson.Object(body), "errors"))
	first, _ := errors.Element()
	return rawjson.Text(rawjson.Member(first, "code"))
}

// isPage reports whether an answer is one for people: HTML, or XML.
func isPage(body []byte) bool { return bytes.HasPrefix(bytes.TrimSpace(body), []byte("<")) }

// retryAfter reads how long to wait, in seconds or as a date; 0 when nothing is said.
func retryAfter(h http.Header) time.Duration {
	text := strings.TrimSpace(h.Get("Retry-After"))
	wait := time.Duration(0)
	if seconds, err := strconv.ParseUint(text, 10, 31); err == nil {
		wait = time.Duration(seconds) * time.Second
	} else if at, err := http.ParseTime(text); err == nil {
		wait = time.Until(at)
	}
	return max(0, min(wait, maxRetryAfter))
}
