package main

import (
	"context"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"rollcall/api"
	"rollcall/internal/fixture"
	"rollcall/internal/pgtest"
	"rollcall/internal/source"
	"rollcall/internal/testtag"
)

const propertyConfig = oneMachine + openSources + `  strict:
    provider: clerk
    signing_secrets: ["${CLERK_SECRET}"]
limits: {lock_timeout: 150ms}
targets:
  gone:
    table: public.gone
    key: [source, id]
    set: {source: new.source, id: new.id, email: new.email, name: new.first_name}
    on_insert: {first_email: new.email}
    on_delete: delete
  kept:
    table: public.kept
    key: [source, id]
    set: {source: new.source, id: new.id, email: new.email, deleted_at: null}
    on_delete: {email: null, deleted_at: now()}
  unique_mail:
    table: public.unique_mail
    from: [strict]
    key: id
    set: {id: new.id, email: new.email}
    on_delete: delete
`

const propertyTables = `
create table gone (source text, id text, email text, name text, first_email text, primary key (source, id));
create table kept (source text, id text, email text, deleted_at timestamptz, primary key (source, id));
create table unique_mail (id text primary key, email text unique);`

// state is what is left of a user in the end. The model: a delete ends everything, the
// earliest counts; of the versions of a living user the newest does.
type state struct {
	version int64
	email   string
	name    string
	dead    bool
}

// message is what a provider says about a user once.
type message struct {
	source, user string
	state        state
}

func (m message) newer(old state) bool {
	if old.dead {
		return m.state.dead && m.state.version < old.version
	}
	return m.state.dead || m.state.version >= old.version
}

// history makes the messages about 50 users of one source: sign-ups, updates, e-mails that
// two users exchange, deletes, and sign-ups again with a deleted user's e-mail.
func history(random *rand.Rand, source string, number int) []message {
	const users = 50
	var all []message
	mails := 0
	mail := func() string { mails++; return fmt.Sprintf("%d.%d@%s.test", number, mails, source) }
	emails := make([]string, users)
	versions := make([]int64, users)
	say := func(n int, s state) {
		versions[n]++
		s.version = versions[n]
		if !s.dead {
			s.email, s.name = emails[n], fmt.Sprint("v", s.version)
		}
		all = append(all, message{source, fmt.Sprintf("h%d_u%d", number, n), s})
	}
	for n := range users {
		emails[n] = mail()
		say(n, state{})
	}
	for range users / 2 {
		switch a, b := random.IntN(users), random.IntN(users); random.IntN(3) {
		case 0: // a rename
			emails[a] = mail()
			say(a, state{})
		case 1: // a and b exchange their e-mails
			if a != b {
				emails[a], emails[b] = emails[b], emails[a]
				say(a, state{})
				say(b, state{})
			}
		case 2: // a is deleted; b, who may be new, has that e-mail from then on
			if a != b {
				say(a, state{dead: true})
				emails[b], emails[a] = emails[a], mail()
				say(b, state{})
			}
		}
	}
	return all
}

// deliveries repeats some messages and shuffles all of them.
func deliveries(random *rand.Rand, messages []message) []message {
	all := append([]message{}, messages...)
	for _, m := range messages {
		for random.IntN(4) == 0 {
			all = append(all, m)
		}
	}
	random.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
	return all
}

// postman signs and sends messages as their providers would.
type postman struct {
	t       testing.TB
	sources map[string]*source.Source
	client  *http.Client
	bases   []string
	sent    atomic.Int64
}

func newPostman(t testing.TB, bases ...string) *postman {
	clerk := newSource(t, source.Clerk)
	return &postman{t: t, bases: bases,
		sources: map[string]*source.Source{"clerk": clerk, "strict": clerk, "supabase": newSource(t, source.Supabase)},
		client:  &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 100}, Timeout: 30 * time.Second},
	}
}

// body is a message in the provider's words, the endpoint it comes through, and its id.
func (m message) body() (string, source.Endpoint, string) {
	id := fmt.Sprintf("%s-%d", m.user, m.state.version)
	switch {
	case m.source != "supabase" && m.state.dead:
		return fmt.Sprintf(`{"object":"event","type":"user.deleted","timestamp":%d,"data":{"id":%q,"deleted":true}}`, 1760000000000+m.state.version, m.user), source.Hook, id
	case m.source != "supabase":
		return fmt.Sprintf(`{"object":"event","type":%q,"timestamp":1760000000000,"data":{"id":%q,"updated_at":%d,"first_name":%q,"primary_email_address_id":"e","email_addresses":[{"id":"e","email_address":%q}]}}`,
			m.kind(), m.user, 1760000000000+m.state.version, m.state.name, m.state.email), source.Hook, id
	case m.state.dead:
		return fmt.Sprintf(`{"type":"DELETE","schema":"auth","table":"users","record":null,"old_record":{"id":%q,"updated_at":%q}}`, m.user, m.at()), source.Database, id
	case m.state.version%2 == 0:
		return fmt.Sprintf(`{"type":"UPDATE","schema":"auth","table":"users","record":{"id":%q,"email":%q,"updated_at":%q,"raw_user_meta_data":{"first_name":%q}},"old_record":null}`,
			m.user, m.state.email, m.at(), m.state.name), source.Database, id
	default:
		return fmt.Sprintf(`{"metadata":{"uuid":%q,"name":"after-user-created"},"user":{"id":%q,"email":%q,"updated_at":%q,"user_metadata":{"first_name":%q}}}`,
			id, m.user, m.state.email, m.at(), m.state.name), source.Hook, id
	}
}

// kind is the type of a message, as the metrics have it.
func (m message) kind() string {
	switch clerk := m.source != "supabase"; {
	case clerk && m.state.dead:
		return "user.deleted"
	case clerk && m.state.version == 1:
		return "user.created"
	case clerk:
		return "user.updated"
	case m.state.dead:
		return "database.delete"
	case m.state.version%2 == 0:
		return "database.update"
	default:
		return "after-user-created"
	}
}

func (m message) at() string {
	return time.UnixMilli(1760000000000 + m.state.version).UTC().Format(time.RFC3339Nano)
}

// reply is what a service answers.
type reply struct {
	status     int
	outcome    string
	retryAfter string
}

// post sends a message once, under an id in its headers; an empty one is made up.
func (p *postman) post(ctx context.Context, m message, base, id string) (reply, error) {
	body, endpoint, _ := m.body()
	header, err := p.sources[m.source].SignAs(endpoint, []byte(body), id, time.Now())
	if err != nil {
		return reply{}, err
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, base+api.Path(m.source, endpoint), strings.NewReader(body))
	if err != nil {
		return reply{}, err
	}
	request.Header = header
	response, err := p.client.Do(request)
	if err != nil {
		return reply{}, err
	}
	_, _ = io.Copy(io.Discard, response.Body)
	_ = response.Body.Close()
	p.sent.Add(1)
	return reply{response.StatusCode, response.Header.Get(api.OutcomeHeader), response.Header.Get("Retry-After")}, nil
}

// deliver sends a message to one of the services until it is accepted.
func (p *postman) deliver(m message, to int) error {
	_, _, id := m.body()
	for range 20 {
		answer, err := p.post(p.t.Context(), m, p.bases[to%len(p.bases)], id)
		if err != nil {
			return err
		}
		switch answer.status {
		case http.StatusNoContent:
			return nil
		case http.StatusServiceUnavailable:
			to++
		default:
			return fmt.Errorf("%s: the answer is %d", id, answer.status)
		}
	}
	return fmt.Errorf("%s was never accepted", id)
}

// deliverAll sends messages over many connections at once.
func (p *postman) deliverAll(messages []message) {
	p.t.Helper()
	const connections = 64
	next := make(chan message, len(messages))
	for _, m := range messages {
		next <- m
	}
	close(next)
	var workers sync.WaitGroup
	for worker := range connections {
		workers.Go(func() {
			for m := range next {
				if err := p.deliver(m, worker); err != nil {
					p.t.Error(err)
					return
				}
			}
		})
	}
	workers.Wait()
}

// Any order, any number of repeats, from any number of connections ends in the same roll
// and the same rows: 2,000 histories of 50 users, over two service processes.
func TestAnyOrderEndsInTheSameState(t *testing.T) {
	t.Parallel()
	const atOnce, strictEvery = 100, 40
	histories := testtag.Part(2000)
	random := rand.New(rand.NewPCG(testtag.Seed(t), 0))

	url := pgtest.NewWith(t, propertyTables)
	c := newCLI(t, propertyConfig, url)
	p := newPostman(t, startProcess(t, c).public, startProcess(t, c).public)

	model := map[string]state{}    // by source and id
	mails := map[string][]string{} // what the versions gave
	start := time.Now()
	var window, strict []message
	for number := range histories {
		source := []string{"clerk", "supabase"}[number%2]
		if number%strictEvery == 0 {
			source = "strict"
		}
		messages := history(random, source, number)
		for _, m := range messages {
			if key := m.source + " " + m.user; m.newer(model[key]) {
				model[key] = m.state
			}
			mails[m.source+" "+m.user] = append(mails[m.source+" "+m.user], m.state.email)
		}
		if source == "strict" {
			strict = append(strict, messages...)
			continue
		}
		if window = append(window, messages...); number%atOnce == atOnce-1 {
			p.deliverAll(deliveries(random, window))
			window = nil
		}
	}
	p.deliverAll(deliveries(random, window))
	p.deliverAll(deliveries(random, strict))
	took := time.Since(start)
	t.Logf("%d histories, %d users, %d requests, %.0f per second", histories, len(model), p.sent.Load(), float64(p.sent.Load())/took.Seconds())

	db := fixture.At(t, url)
	// A user who was parked for an e-mail that another one has given up since arrives with a repeat.
	for before, parked := -1, newest(db, model); len(parked) > 0 && len(parked) != before; {
		before = len(parked)
		p.deliverAll(parked)
		parked = newest(db, model)
	}
	compare(db, model)
	for key, first := range pairs(db, "select source || ' ' || id, first_email from gone") {
		if !slices.Contains(mails[key], first) {
			t.Errorf("%s was inserted with %s, which no version gave", key, first)
		}
	}
}

// newest are the last messages about the parked users.
func newest(db *fixture.Database, model map[string]state) []message {
	var again []message
	for _, row := range db.Rows("select source, user_id from rollcall.parked") {
		source, user, _ := strings.Cut(row, "|")
		again = append(again, message{source, user, model[source+" "+user]})
	}
	return again
}

// pairs reads a query of keys and values.
func pairs(db *fixture.Database, sql string) map[string]string {
	db.T.Helper()
	found := map[string]string{}
	for _, row := range db.Rows(sql) {
		key, value, _ := strings.Cut(row, "|")
		found[key] = value
	}
	return found
}

// compare holds the tables against the model.
func compare(db *fixture.Database, model map[string]state) {
	t := db.T
	t.Helper()
	load := func(sql string) map[string]string { return pairs(db, sql) }
	roll, alive, mails := map[string]string{}, map[string]string{}, map[string]string{}
	for key, s := range model {
		roll[key] = fmt.Sprintf("%d %s %s %.1s", s.version+1760000000000, s.email, s.name, strconv.FormatBool(s.dead))
		if !s.dead {
			alive[key] = s.email + " " + s.name
			if user, ok := strings.CutPrefix(key, "strict "); ok {
				mails[user] = s.email
			}
		}
	}
	same(t, "the roll", roll, load(`select source || ' ' || id, concat(version / 1000, ' ', email, ' ', first_name, ' ', deleted_at is not null) from rollcall.users`))
	same(t, "gone", alive, load(`select source || ' ' || id, concat(email, ' ', name) from gone`))
	same(t, "kept", alive, load(`select k.source || ' ' || k.id, concat(k.email, ' ', u.first_name) from kept k join rollcall.users u using (source, id) where k.deleted_at is null`))
	if wrong := load(`select source || ' ' || id, 'x' from kept k where deleted_at is not null and (email is not null or exists (select from rollcall.users u where u.source = k.source and u.id = k.id and u.deleted_at is null))`); len(wrong) > 0 {
		t.Errorf("kept: %d rows are half deleted: %v", len(wrong), wrong)
	}
	parked := load("select user_id, target || ' ' || sqlstate || ' ' || error from rollcall.parked")
	got := load("select id, email from unique_mail")
	t.Logf("%d of %d users with a unique e-mail are parked", len(parked), len(mails))
	for user := range parked {
		if holder := mails[user]; holder != "" && !circular(got, mails, user) {
			t.Errorf("%s is parked, but no row stands in the way for good: %s", user, parked[user])
		}
	}
	for user := range parked {
		delete(mails, user)
		delete(got, user)
	}
	same(t, "unique_mail", mails, got)
}

// circular reports whether a user's e-mail is held by another who is parked in turn: an
// exchange that no order of single writes can carry out.
func circular(got, mails map[string]string, user string) bool {
	for holder, mail := range got {
		if mail == mails[user] && holder != user {
			return mails[holder] != mail
		}
	}
	return false
}

func same(t testing.TB, what string, want, got map[string]string) {
	t.Helper()
	if maps.Equal(want, got) {
		return
	}
	diff := cmp.Diff(want, got)
	t.Errorf("%s: %d wanted, %d found (-want +got):\n%.3000s", what, len(want), len(got), diff)
}
