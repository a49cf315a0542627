package api

import (
	"encoding/json"
	"net/http"

	"rollcall/internal/event"
)

// reply is the answer to an outcome. The words are for the sender: never SQL, never a
// secret, nothing that helps a forger.
type reply struct {
	status  int
	message string // the error's words; empty when there is no error
	retry   bool   // a Retry-After header, without which Supabase does not try again
}

// replies maps each outcome to its answer. It is the same at every endpoint: Clerk counts any
// 2xx as delivered and stops calling an endpoint after five days of anything else, and
// Supabase lets a sign-up fail on anything else; so only what a repetition can mend is
// refused. A 200 with a body is the hook's own affair (event.Event.Reply).
var replies = map[event.Outcome]reply{
	event.Applied:         {status: http.StatusNoContent},
	event.Duplicate:       {status: http.StatusNoContent},
	event.Stale:           {status: http.StatusNoContent},
	event.Ignored:         {status: http.StatusNoContent}, // an unknown type stays unknown however often it is sent
	event.Announced:       {status: http.StatusNoContent},
	event.Admitted:        {status: http.StatusNoContent}, // before-user-created fails closed: no answer would be no sign-up
	event.Parked:          {status: http.StatusNoContent}, // the roll has it; the target is our affair
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
