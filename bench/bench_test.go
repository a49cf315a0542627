//go:build bench

package main

import (
	"bufio"
	"bytes"
	"context"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
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

	"rollcall/bench/page"
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
	s := &scene{t: t, mill: must.Get(newMill())(t), database: must.Get(fill(t.Context(), pgtest.New(t)))(t)}
	made := s.mill.make(20)
	for i := range made.len() {
		s.requests = append(s.requests, must.Get(s.mill.received(made.at(i)))(t))
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

// wantSameTables gives everything to a rival and to Rollcall, and compares the applications' tables.
func (s *scene) wantSameTables(maker func(context.Context, rival.Config) (http.Handler, func(), error)) {
	s.t.Helper()
	s.send(maker)
	profiles, deadstock := s.rows(profilesNow), s.rows(deadstockNow)
	s.apply()
	s.wantSame("profiles", profiles, s.rows(profilesNow))
	s.wantSame("deadstock.users", deadstock, s.rows(deadstockNow))
}

func TestHandlerWritesTheSameRows(t *testing.T) {
	t.Parallel()
	newScene(t, false).wantSameTables(rival.Handler)
}

func TestPerRequestHasTheSameGuarantees(t *testing.T) {
	t.Parallel()
	s := newScene(t, true)
	s.wantSameTables(rival.PerRequest)
	s.wantSame("the roll", s.rows(inRival(usersNow)), s.rows(usersNow))
	if diff := cmp.Diff(s.rows(eventsNow), s.rows(inRival(eventsNow))); diff != "" {
		t.Errorf("events (-Rollcall +rival):\n%s", diff)
	}
}

func TestRatioIsTakenWithinARound(t *testing.T) {
	t.Parallel()
	r := results{"a": {{PerSecond: 10}, {PerSecond: 40}, {PerSecond: 90}}, "b": {{PerSecond: 10}, {PerSecond: 10}, {PerSecond: 10}}}
	got, ok := r.ratio("a", "b", perSecond)
	if want := (spread{1, 4, 9}); !ok || got != want {
		t.Errorf("ratio: got %v, want %v", got, want)
	}
	if _, ok := r.ratio("a", "nobody", perSecond); ok {
		t.Error("a ratio of what was not measured")
	}
}

func TestVerdict(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		g     goal
		value float64
		want  string
	}{
		{goal{bound: 8}, 8, "reached"},
		{goal{bound: 8}, 6, "**missed** by 25 %"},
		{goal{bound: 2, atMost: true}, 2, "reached"},
		{goal{bound: 2, atMost: true}, 3, "**missed** by 50 %"},
		{goal{}, 3, ""},
	} {
		if got := tt.g.verdict(tt.value); got != tt.want {
			t.Errorf("%v at %v: got %q, want %q", tt.g, tt.value, got, tt.want)
		}
	}
}

func TestSummary(t *testing.T) {
	t.Parallel()
	var took []time.Duration
	for i := range 1000 {
		took = append(took, time.Duration(1000-i))
	}
	got := summary(took, 2*time.Second)
	if want := (measured{PerSecond: 500, P50: 501, P99: 991}); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

func TestReadAnswer(t *testing.T) {
	t.Parallel()
	two := "HTTP/1.1 204 No Content\r\nDate: x\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nabcHTTP/1.1 503 Service Unavailable\r\nContent-Length: 4\r\n\r\nbusy"
	r := bufio.NewReader(strings.NewReader(two))
	for range 2 {
		must.Do(t, readAnswer(r))
	}
	must.Fail(t, readAnswer(r), nil, "503", "busy")
}

func TestWriteBetweenKeepsWhatIsAround(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "b.md")
	must.Do(t, os.WriteFile(file, []byte("before\n<!-- x: begin, written by the program -->\nold\n<!-- x: end -->\nafter\n"), 0o600))
	must.Do(t, page.Write(file, "x", "new\n"))
	got, err := os.ReadFile(file)
	if want := "before\n<!-- x: begin, written by the program -->\n\nnew\n\n<!-- x: end -->\nafter\n"; err != nil || string(got) != want {
		t.Errorf("got %q, %v, want %q", got, err, want)
	}
	if err := page.Write(file, "y", "new"); err == nil {
		t.Error("a part without marks was written")
	}
}
