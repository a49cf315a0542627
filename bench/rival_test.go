//go:build bench

package main

import (
	"bytes"
	"context"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"rollcall/bench/rival"
	"rollcall/internal/event"
	"rollcall/internal/must"
	"rollcall/internal/pgtest"
	"rollcall/internal/source"
	"rollcall/internal/testevent"
)

func TestMain(m *testing.M) { pgtest.Main(m) }

const (
	profilesNow  = "select id, email, first_name, last_name, role from public.profiles order by id"
	deadstockNow = "select id, email, full_name, role, avatar_url from deadstock.users order by id"
	usersNow     = `select source, id, version, external_id, email, email_verified, phone, phone_verified, username, first_name, last_name, full_name,
		avatar_url, raw_user_meta_data, raw_app_meta_data, is_anonymous, banned, created_at, updated_at, last_sign_in_at from rollcall.users order by id`
	eventsNow = "select source, id, type, user_id from rollcall.events order by id"
)

// scene is a database and the requests that candidates get, one after the other.
type scene struct {
	t        *testing.T
	mill     *mill
	database *database
	requests []source.Request
}

// newScene has requests about new users, and one about each of: a newer version, a repetition,
// and, if stale, an older version.
func newScene(t *testing.T, stale bool) *scene {
	t.Helper()
	m := must.Get(newMill())(t)
	d := must.Get(fill(t.Context(), pgtest.New(t)))(t)
	s := &scene{t: t, mill: m, database: d}
	made := m.make(20)
	for i := range made.len() {
		s.requests = append(s.requests, must.Get(m.received(made.at(i)))(t))
	}
	s.requests = append(s.requests, s.requests[3], s.changed(s.requests[5].Body, "newer@example.com", time.Hour))
	if stale {
		s.requests = append(s.requests, s.changed(s.requests[6].Body, "older@example.com", -time.Hour))
	}
	return s
}

// changed is an update of a user by another version.
func (s *scene) changed(body []byte, email string, by time.Duration) source.Request {
	s.t.Helper()
	body = must.Get(testevent.Apply(body, []testevent.Change{
		{Path: "type", Value: `"user.updated"`}, {Path: "data.email_addresses[0].email_address", Value: `"` + email + `"`}, {Path: "data.first_name", Value: `"Changed"`},
		{Path: "data.updated_at", Value: strconv.FormatInt(time.Now().Add(by).UnixMilli(), 10)},
	}))(s.t)
	header := must.Get(s.mill.source.Sign(source.Hook, body))(s.t)
	return source.Request{Header: header, Body: body, ReceivedAt: time.Now()}
}

// send gives a rival everything.
func (s *scene) send(maker func(context.Context, rival.Config) (http.Handler, func(), error)) {
	s.t.Helper()
	handler, closePool, err := maker(s.t.Context(), rival.Config{Database: s.database.url, Secret: s.mill.secret, Connections: 2})
	must.Do(s.t, err)
	defer closePool()
	for _, r := range s.requests {
		request := httptest.NewRequestWithContext(s.t.Context(), http.MethodPost, path, bytes.NewReader(r.Body))
		request.Header = r.Header
		answer := httptest.NewRecorder()
		handler.ServeHTTP(answer, request)
		if answer.Code != http.StatusNoContent {
			s.t.Fatalf("the rival answered %d: %s", answer.Code, answer.Body)
		}
	}
}

// apply gives Rollcall everything, in empty tables.
func (s *scene) apply() {
	s.t.Helper()
	must.Do(s.t, s.database.exec(s.t.Context(), "truncate public.profiles, deadstock.users"))
	db := must.Get(openRollcall(s.t.Context(), configuration, s.database.url, s.mill))(s.t)
	defer db.Close()
	for _, r := range s.requests {
		must.Do(s.t, s.mill.source.Verify(r))
		must.Get(db.Roll().Apply(s.t.Context(), []event.Event{s.mill.source.Decode(r)}))(s.t)
	}
}

// rows are those of a query as texts.
func (s *scene) rows(sql string) [][]string {
	s.t.Helper()
	results := must.Get(s.database.conn.PgConn().Exec(s.t.Context(), sql).ReadAll())(s.t)
	var list [][]string
	for _, row := range results[0].Rows {
		var cells []string
		for _, cell := range row {
			cells = append(cells, string(cell))
		}
		list = append(list, cells)
	}
	return list
}

func (s *scene) wantSame(what string, rival, ours [][]string) {
	s.t.Helper()
	if len(ours) != 20 {
		s.t.Errorf("%s: Rollcall has %d rows, want 20", what, len(ours))
	}
	if diff := cmp.Diff(ours, rival); diff != "" {
		s.t.Errorf("%s (-Rollcall +rival):\n%s", what, diff)
	}
}

// inRival asks the rival's own tables.
func inRival(sql string) string { return strings.ReplaceAll(sql, "from rollcall.", "from rival.") }

func TestHandlerWritesTheSameRows(t *testing.T) {
	t.Parallel()
	s := newScene(t, false)
	s.send(rival.Handler)
	profiles, deadstock := s.rows(profilesNow), s.rows(deadstockNow)
	s.apply()
	s.wantSame("profiles", profiles, s.rows(profilesNow))
	s.wantSame("deadstock.users", deadstock, s.rows(deadstockNow))
}

func TestPerRequestHasTheSameGuarantees(t *testing.T) {
	t.Parallel()
	s := newScene(t, true)
	s.send(rival.PerRequest)
	profiles, deadstock := s.rows(profilesNow), s.rows(deadstockNow)
	s.apply()
	s.wantSame("profiles", profiles, s.rows(profilesNow))
	s.wantSame("deadstock.users", deadstock, s.rows(deadstockNow))
	s.wantSame("the roll", s.rows(inRival(usersNow)), s.rows(usersNow))
	if diff := cmp.Diff(s.rows(eventsNow), s.rows(inRival(eventsNow))); diff != "" {
		t.Errorf("events (-Rollcall +rival):\n%s", diff)
	}
}
