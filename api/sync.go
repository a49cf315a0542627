package api

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"math"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"rollcall/internal/event"
	"rollcall/internal/reconcile"
)

// SyncPath is the path of just-in-time sync, which brings the rows of a front end's user up to date.
const SyncPath = "/v1/sync"

// Sync is what just-in-time sync needs.
type Sync struct {
	// Sources are the names of the sources whose tokens are believed; with none the path is
	// closed.
	Sources []string
	// Verify says whose a session token is. An error that does not wrap event.ErrUnavailable
	// means that the token is not believed; the source is then the one that it claims, "" for none.
	Verify func(ctx context.Context, token string) (reconcile.SignedIn, error)
	// Bring brings them into step; see reconcile.Syncer.
	Bring func(context.Context, reconcile.SignedIn) (reconcile.Synced, error)
	// Origins are those whose pages may call, as scheme://host[:port].
	Origins []string
}

// The results of a sync: what became of it, for the log and the metrics.
const (
	syncDone        = "synced"
	syncParked      = "parked" // synced, but a target gets the user, or what goes with them, later
	syncNotMember   = "not_member"
	syncNoTeam      = "no_organization"
	syncUnverified  = "unverified"
	syncDeleted     = "deleted"
	syncGone        = "gone"
	syncLimited     = "limited"
	syncUnavailable = "unavailable"
)

// syncReplies maps each result that is no success to its answer.
var syncReplies = map[string]reply{
	syncUnverified:  {status: http.StatusUnauthorized, message: "the session token is missing, not valid any more or not one of a source of this server; get a fresh one from the provider's client"},
	syncDeleted:     {status: http.StatusGone, message: "this user was deleted"},
	syncGone:        {status: http.StatusNotFound, message: "the auth provider has no such user"},
	syncLimited:     {status: http.StatusTooManyRequests, message: "this user, or the organization, was looked up too often; try again later"},
	syncUnavailable: {status: http.StatusServiceUnavailable, message: "the user can't be looked up or brought into step at the moment; try again later"},
}

// standings are the results of those who are in step.
var standings = map[reconcile.Standing]string{
	reconcile.Alone: syncDone, reconcile.IsMember: syncDone, reconcile.NotMember: syncNotMember, reconcile.NoOrganization: syncNoTeam,
}

// unknownSource labels requests whose token names no source.
const unknownSource = "unknown"

// syncPatience bounds all of a sync: the fetch of keys, the look and the commit.
const syncPatience = 10 * time.Second

// syncing is one request on its way through.
type syncing struct {
	who    reconcile.SignedIn // before the token is believed, the source is what it claims
	result string
	synced reconcile.Synced
	err    error // for the operator
}

// sync answers a front end when the rows of its user are there.
func (s *Server) sync(w http.ResponseWriter, r *http.Request) {
	started := time.Now()
	s.allowOrigin(w, r)
	w.Header().Set("Cache-Control", "no-store")
	s.awaitAnswer(w, r)
	d := &syncing{who: reconcile.SignedIn{Source: unknownSource}}
	ctx, cancel := context.WithTimeout(r.Context(), syncPatience)
	defer cancel()
	s.bringIntoStep(ctx, r, d)
	status := d.answer(w)
	took := time.Since(started)
	s.metrics.synced(d, took)
	s.logSync(r.Context(), d, status, took)
}

// awaitAnswer takes the router's deadline back from a request that has arrived: net/http would
// take its end for the client's leaving. A body, which is not read, must still come in time.
func (s *Server) awaitAnswer(w http.ResponseWriter, r *http.Request) {
	if r.ContentLength != 0 {
		return
	}
	if err := http.NewResponseController(w).SetReadDeadline(time.Time{}); err != nil {
		s.config().Log.Warn("a sync has only the time limit of a body: its read deadline can't be removed", "error", err)
	}
}

func (s *Server) bringIntoStep(ctx context.Context, r *http.Request, d *syncing) {
	if d.err = s.identify(ctx, r, d); d.err == nil {
		d.synced, d.err = s.config().Sync.Bring(ctx, d.who)
		d.result = syncResult(d.synced, d.err)
		return
	}
	d.result = syncUnverified
	if errors.Is(d.err, event.ErrUnavailable) {
		d.result = syncUnavailable
	}
}

// identify learns from the token whose request it is.
func (s *Server) identify(ctx context.Context, r *http.Request, d *syncing) error {
	token := strings.TrimSpace(bearer(r))
	if token == "" {
		return errNoToken
	}
	who, err := s.config().Sync.Verify(ctx, token)
	who.Source = cmp.Or(who.Source, unknownSource)
	d.who = who
	return err
}

var errNoToken = errors.New("the request has no header Authorization: Bearer with a session token")

// bearer is the token of a request, "" where there is none.
func bearer(r *http.Request) string {
	scheme, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	if !strings.EqualFold(scheme, "Bearer") {
		return ""
	}
	return token
}

func syncResult(all reconcile.Synced, err error) string {
	var limit *reconcile.LimitError
	switch {
	case err == nil:
		for _, o := range all.Targets {
			if o != event.Applied {
				return syncParked
			}
		}
		return standings[all.Standing]
	case errors.Is(err, reconcile.ErrDeleted):
		return syncDeleted
	case errors.Is(err, reconcile.ErrGone):
		return syncGone
	case errors.As(err, &limit):
		return syncLimited
	default:
		return syncUnavailable
	}
}

// answer writes the answer and returns its status.
func (d *syncing) answer(w http.ResponseWriter) int {
	if d.err == nil {
		type body struct {
			User         json.RawMessage          `json:"user"`
			Organization json.RawMessage          `json:"organization,omitempty"` // null where the token names one and they are no member
			Membership   json.RawMessage          `json:"membership,omitempty"`
			Targets      map[string]event.Outcome `json:"targets"`
		}
		said := body{User: d.synced.User.Record, Targets: d.synced.Targets}
		if d.who.Organization != "" {
			said.Organization, said.Membership = orNull(d.synced.Organization.Record), orNull(d.synced.Membership.Record)
		}
		writeJSON(w, http.StatusOK, said)
		return http.StatusOK
	}
	r := syncReplies[d.result]
	switch d.result {
	case syncUnverified:
		w.Header().Set("WWW-Authenticate", challenge(d.err))
	case syncLimited, syncUnavailable:
		w.Header().Set("Retry-After", seconds(event.RetryAfter(d.err)))
	}
	writeError(w, r.status, d.result, r.message)
	return r.status
}

func orNull(record json.RawMessage) json.RawMessage {
	if record == nil {
		return json.RawMessage("null")
	}
	return record
}

// challenge says what is wrong with a token only where there was one (RFC 6750, 3.1).
func challenge(err error) string {
	if errors.Is(err, errNoToken) {
		return "Bearer"
	}
	return `Bearer error="invalid_token"`
}

// seconds are whole ones, one at least.
func seconds(wait time.Duration) string { return strconv.Itoa(max(1, int(math.Ceil(wait.Seconds())))) }

// preflight tells a browser whether a page may call.
func (s *Server) preflight(w http.ResponseWriter, r *http.Request) {
	w.Header().Add("Vary", "Access-Control-Request-Method, Access-Control-Request-Headers")
	if !s.allowOrigin(w, r) {
		writeError(w, http.StatusForbidden, "origin_not_allowed", "pages of this origin may not call; the operator lists it in sync.origins")
		return
	}
	w.Header().Set("Access-Control-Allow-Methods", http.MethodPost)
	w.Header().Set("Access-Control-Allow-Headers", "Authorization, Content-Type")
	w.Header().Set("Access-Control-Max-Age", "600")
	w.WriteHeader(http.StatusNoContent)
}

// allowOrigin lets the pages of a configured origin read the answer.
func (s *Server) allowOrigin(w http.ResponseWriter, r *http.Request) bool {
	w.Header().Add("Vary", "Origin")
	origin := r.Header.Get("Origin")
	if origin == "" || !slices.Contains(s.config().Sync.Origins, origin) {
		return false
	}
	w.Header().Set("Access-Control-Allow-Origin", origin)
	w.Header().Set("Access-Control-Expose-Headers", "Retry-After")
	return true
}

// logSync writes the one line of a sync: no token, no address.
func (s *Server) logSync(ctx context.Context, d *syncing, status int, took time.Duration) {
	if d.result == syncUnverified && !s.lines.allow("sync "+d.result) {
		return
	}
	fields := []slog.Attr{
		slog.String("source", d.who.Source),
		slog.String("result", d.result),
		slog.Int("status", status),
		slog.Float64("seconds", took.Seconds()),
		known("user", d.who.User),
		known("organization", d.who.Organization),
	}
	if d.err != nil {
		fields = append(fields, slog.String("error", d.err.Error()))
	}
	level := slog.LevelInfo
	switch d.result {
	case syncUnavailable:
		level = slog.LevelError
	case syncParked, syncUnverified, syncLimited:
		level = slog.LevelWarn
	}
	s.config().Log.LogAttrs(ctx, level, "sync", fields...)
}
