package main

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"rollcall/internal/fixture"
	"rollcall/internal/must"
	"rollcall/internal/source"
)

// stored is what a request has left in the database.
type stored struct {
	events  []string // type|user|outcome|whether there is a body
	users   []string // id|email|metadata, shortened
	targets []string // ids
}

func readStored(db *fixture.Database) stored {
	db.T.Helper()
	return stored{
		db.Rows(`select type, coalesce(user_id, '-'), outcome, case when body is null then 'no body' else 'body' end
			from rollcall.events order by 1, 2, 3, 4`),
		db.Rows(`select id, coalesce(email, '-'), left(coalesce(raw_user_meta_data::text, '-'), 60)
			from rollcall.users order by 1`),
		db.Rows(`select id from profiles order by 1`),
	}
}

// badInput is one row: a request, and what is to come of it.
type badInput struct {
	name    string
	request func(t *testing.T) *http.Request
	status  int
	outcome string
	log     string // a part of the log line
	stored  stored
}

// TestBadInput sends what should never come through the real server.
func TestBadInput(t *testing.T) {
	t.Parallel()
	in := startShop(t)
	in.log.await(t, "a finding", 1) // of the superuser, by the first examination, which is no line of a request
	for _, row := range slices.Concat(unverifiedRows(), bodyRows(), contentRows(), repairedRows(), routeRows()) {
		t.Run(row.name, func(t *testing.T) {
			before := len(in.log.Lines("")) + 1
			status, outcome, body := in.send(row.request(t))
			if status != row.status || outcome != row.outcome {
				t.Errorf("got %d %s, want %d %s; body %s", status, outcome, row.status, row.outcome, body)
			}
			if status >= 400 && !strings.HasPrefix(body, `{"error":{"code":"`) {
				t.Errorf("error body %s", body)
			}
			in.log.await(t, "", before)
			lines := strings.Split(strings.TrimSpace(in.log.String()), "\n")
			if line := lines[len(lines)-1]; len(lines) != before || !strings.Contains(line, row.log) {
				t.Errorf("%d new log lines, the last is\n%s\nwant one with %s", len(lines)-before+1, line, row.log)
			}
			got := readStored(in.db)
			if !slices.Equal(got.events, row.stored.events) || !slices.Equal(got.users, row.stored.users) || !slices.Equal(got.targets, row.stored.targets) {
				t.Errorf("stored %+v\nwant   %+v", got, row.stored)
			}
			in.db.Exec("truncate rollcall.events, rollcall.users, rollcall.parked, profiles")
		})
	}
	for _, secret := range []string{clerkSecret, supabaseSecret, databaseSecret, adminToken, "hunter2", "ann@example.com", "MadeUpName"} {
		if strings.Contains(in.log.String(), secret) {
			t.Errorf("the log holds %q", secret)
		}
	}
}

const ann = `"email_addresses":[{"id":"e1","email_address":"ann@example.com"}],"primary_email_address_id":"e1","first_name":"MadeUpName","private_metadata":{"pin":"hunter2"}`

// changed is a request with something done to it after it was signed.
func changed(signed func(*testing.T) *http.Request, change func(*http.Request)) func(*testing.T) *http.Request {
	return func(t *testing.T) *http.Request {
		r := signed(t)
		change(r)
		return r
	}
}

// annSignsUp is a signed request about ann.
func annSignsUp(t *testing.T) *http.Request { return created(t, "user_a", ann) }

// signedAt signs as of some time from now.
func signedAt(offset time.Duration) func(t *testing.T) *http.Request {
	return func(t *testing.T) *http.Request {
		r, body := annSignsUp(t), []byte(clerkUser("user.created", "user_a", ann))
		r.Header = must.Get(newSource(t, source.Clerk).SignAs(source.Hook, body, "msg_1", time.Now().Add(offset)))(t)
		return r
	}
}

func unverifiedRows() []badInput {
	row := func(name, log string, request func(*testing.T) *http.Request) badInput {
		return badInput{name, request, http.StatusUnauthorized, "unverified", log, stored{}}
	}
	without := func(header string) func(*testing.T) *http.Request {
		return changed(annSignsUp, func(r *http.Request) { r.Header.Del(header) })
	}
	set := func(header, value string) func(*testing.T) *http.Request {
		return changed(annSignsUp, func(r *http.Request) { r.Header.Set(header, value) })
	}
	return []badInput{
		row("no signature", `"level":"WARN","msg":"webhook","source":"clerk","type":"other","outcome":"unverified"`, without("Svix-Signature")),
		row("no id", "missing", without("Svix-Id")),
		row("no timestamp", "missing", without("Svix-Timestamp")),
		row("empty signature", "missing", set("Svix-Signature", "")),
		row("wrong signature", "none of the configured secrets", set("Svix-Signature", "v1,AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=")),
		row("signature of another version", "holds no v1 signature", set("Svix-Signature", "v2,AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=")),
		row("another id than was signed", "none of the configured secrets", set("Svix-Id", "msg_other")),
		row("timestamp is no number", "timestamp", set("Svix-Timestamp", "yesterday")),
		row("old", "too old by 60 s", signedAt(-6*time.Minute)),
		row("future", "too new by 60 s", signedAt(6*time.Minute)),
		row("duplicate id header", "Svix-Id occurs twice", changed(annSignsUp, func(r *http.Request) { r.Header.Add("Svix-Id", "msg_other") })),
		row("over another body", "none of the configured secrets", changed(annSignsUp, func(r *http.Request) {
			body := clerkUser("user.created", "user_b", ann)
			r.Body, r.ContentLength = io.NopCloser(strings.NewReader(body)), int64(len(body))
		})),
		row("of another source", "none of the configured secrets", changed(
			verified(source.Supabase, source.Hook, clerkUser("user.created", "user_a", ann)),
			func(r *http.Request) { r.URL.Path = "/webhooks/clerk" })),
		row("wrong header secret", `"source":"supabase"`, changed(verified(source.Supabase, source.Database, `{}`),
			func(r *http.Request) { r.Header.Set("X-Webhook-Secret", databaseSecret+"x") })),
		row("no header secret", `"source":"supabase"`, changed(verified(source.Supabase, source.Database, `{}`),
			func(r *http.Request) { r.Header.Del("X-Webhook-Secret") })),
	}
}

// verified is a request that is signed as it should be.
func verified(provider string, endpoint source.Endpoint, body string) func(t *testing.T) *http.Request {
	return func(t *testing.T) *http.Request { return signed(t, provider, endpoint, body) }
}

// appliedAs is a row of a user who arrives with this metadata; more are members of the event.
func appliedAs(name, metadata string, more ...string) badInput {
	body := clerkUser("user.created", "user_a", more...)
	return badInput{
		name, verified(source.Clerk, source.Hook, body), http.StatusNoContent, "applied", `"outcome":"applied"`,
		stored{[]string{"user.created|user_a|applied|body"}, []string{"user_a|-|" + metadata}, []string{"user_a"}},
	}
}

func bodyRows() []badInput {
	undecodable := func(name, body string, events ...string) badInput {
		return badInput{name, verified(source.Clerk, source.Hook, body), http.StatusNoContent, "undecodable", `"outcome":"undecodable","status":204`, stored{events: events}}
	}
	return []badInput{
		{"over the limit", verified(source.Clerk, source.Hook, strings.Repeat(" ", 1<<20+1)), http.StatusRequestEntityTooLarge, "too_large", `"outcome":"too_large"`, stored{}},
		undecodable("not JSON", "hello", "other|-|undecodable|body"),
		undecodable("empty body", "", "other|-|undecodable|body"),
		undecodable("an array", `[1]`, "other|-|undecodable|body"),
		undecodable("JSON of another shape", `{"hello":"environment"}`, "other|-|undecodable|body"),
		undecodable("data is a string", `{"type":"user.created","data":"user_a"}`, "user.created|-|undecodable|body"),
		undecodable("id is a number", `{"type":"user.created","data":{"id":7}}`, "user.created|-|undecodable|body"),
		undecodable("missing id", clerkUser("user.deleted", ""), "user.deleted|-|undecodable|body"),
		undecodable("id too long for a key", clerkUser("user.created", strings.Repeat("x", 300)), "user.created|-|undecodable|body"),
		undecodable("cut JSON with secrets in it", `{"type":"user.created","data":{"private_metadata":{"pin":"hunter2"}`, "other|-|undecodable|no body"),
		{"database webhook that is no JSON", verified(source.Supabase, source.Database, `{"record":{"encrypted_password":"hunter2"`), http.StatusNoContent, "undecodable",
			`"outcome":"undecodable"`, stored{events: []string{"other|-|undecodable|no body"}}},
	}
}

func contentRows() []badInput {
	ignored := func(name, provider, body, log string) badInput {
		return badInput{name, verified(provider, source.Hook, body), http.StatusNoContent, "ignored", log, stored{}}
	}
	return []badInput{
		ignored("unknown type", source.Clerk, clerkUser("waitlistEntry.created", "w_1"), `"type":"other","outcome":"ignored"`),
		ignored("a type that carries codes", source.Clerk, clerkUser("sms.created", "sms_1", `"message":"hunter2"`), `"type":"sms.created","outcome":"ignored"`),
		ignored("another instance", source.Clerk, strings.Replace(clerkUser("user.created", "user_a"), "ins_2abc", "ins_2xyz", 1), "another instance"),
		ignored("unknown hook", source.Supabase, `{"metadata":{"name":"new-hook","uuid":"u1"}}`, `"type":"other"`),
		{"an e-mail hook", verified(source.Supabase, source.Hook, `{"metadata":{"name":"send-email","uuid":"u1"},"email_data":{"token":"hunter2"}}`), http.StatusOK, "ignored", `"type":"send-email"`, stored{}},
		{"another table", verified(source.Supabase, source.Database, `{"type":"INSERT","schema":"auth","table":"sessions","record":{"id":"x"}}`), http.StatusNoContent, "ignored", `"outcome":"ignored"`, stored{}},
		appliedAs("unknown fields", "{}", `"tomorrow":{"x":[1,2]}`),
		appliedAs("dangling primary e-mail", "{}", `"email_addresses":[{"id":"e1","email_address":"ann@example.com"}],"primary_email_address_id":"e9"`),
	}
}

// repairedRows hold what PostgreSQL would refuse; the user arrives all the same.
func repairedRows() []badInput {
	row := func(name, metadata, want string) badInput {
		return appliedAs(name, want, `"unsafe_metadata":`+metadata)
	}
	large := `{"big": "` + strings.Repeat("x", 900_000) + `"}`
	nested := row("deeply nested", strings.Repeat(`{"a":`, 201)+"1"+strings.Repeat("}", 201), "{}")
	nested.log = `"kept":"raw_user_meta_data","reason":"the metadata nests deeper than 200 levels"`
	return []badInput{
		nested,
		row("NUL in metadata", `{"a\u0000":"b\u0000c"}`, "{\"a\uFFFD\": \"b\uFFFDc\"}"),
		row("lone surrogate in metadata", `{"a":"\ud800x"}`, "{\"a\": \"\uFFFDx\"}"),
		row("bytes that are no UTF-8", "{\"a\":\"\xff\"}", "{\"a\": \"\uFFFD\"}"),
		row("a number that jsonb refuses", `{"n":1e999999}`, `{"n": "1e999999"}`),
		row("metadata is no object", `[1,2]`, `{}`),
		row("900 kB of metadata", large, large[:60]),
		appliedAs("NUL in a name", "{}", `"first_name":"A\u0000B"`),
		appliedAs("absurd times", "{}", `"created_at":9e18,"last_sign_in_at":-9000000000000000000`),
	}
}

func routeRows() []badInput {
	at := func(method, path string) func(t *testing.T) *http.Request {
		return changed(annSignsUp, func(r *http.Request) { r.Method, r.URL.Path = method, path })
	}
	return []badInput{
		{"unknown source", at(http.MethodPost, "/webhooks/nobody"), http.StatusNotFound, "", "no such source", stored{}},
		{"an endpoint without a secret", at(http.MethodPost, "/webhooks/clerk/database"), http.StatusNotFound, "", "no such source", stored{}},
		{"unknown method", at("BREW", "/webhooks/clerk"), http.StatusMethodNotAllowed, "", `"status":405`, stored{}},
		{"wrong method", at(http.MethodPut, "/webhooks/clerk"), http.StatusMethodNotAllowed, "", `"status":405,"allowed":"POST"`, stored{}},
	}
}

// What no well-behaved client can send needs a connection of its own.
func TestBadConnections(t *testing.T) {
	t.Parallel()
	in := startShop(t)
	body := clerkUser("user.created", "user_a", ann)
	head := func(length int) string {
		header := must.Get(newSource(t, source.Clerk).Sign(source.Hook, []byte(body)))(t)
		header.Set("Content-Length", strconv.Itoa(length))
		var text strings.Builder
		_ = header.Write(&text) // a strings.Builder takes everything
		return "POST /webhooks/clerk HTTP/1.1\r\nHost: x\r\n" + text.String() + "\r\n"
	}
	tests := []struct {
		name, sent string
		close      bool
		status     int
		log        string
	}{
		{"truncated", head(len(body)+10) + body, true, http.StatusBadRequest, `"outcome":"malformed","status":400`},
		{"slow", head(len(body)+10) + body, false, http.StatusRequestTimeout, `"outcome":"malformed","status":408`},
		{"slow, at an endpoint that is not there", strings.Replace(head(len(body)+10), "/clerk ", "/nobody ", 1), false, http.StatusNotFound, `"status":404`},
		{"announced larger than the limit", head(2 << 20), false, http.StatusRequestEntityTooLarge, `"outcome":"too_large"`},
	}
	for _, tt := range tests {
		c := must.Get((&net.Dialer{}).DialContext(t.Context(), "tcp", strings.TrimPrefix(in.public, "http://")))(t)
		must.Get(io.WriteString(c, tt.sent))(t)
		if tcp, ok := c.(*net.TCPConn); ok && tt.close {
			_ = tcp.CloseWrite()
		}
		response, err := http.ReadResponse(bufio.NewReader(c), nil)
		if err != nil {
			t.Fatalf("%s: %v", tt.name, err)
		}
		_ = response.Body.Close()
		_ = c.Close()
		if response.StatusCode != tt.status || !strings.Contains(in.log.String(), tt.log) {
			t.Errorf("%s: got %d, want %d and %s in the log", tt.name, response.StatusCode, tt.status, tt.log)
		}
	}
	if got := readStored(in.db); len(got.events)+len(got.users) > 0 {
		t.Errorf("stored %+v", got)
	}
}
