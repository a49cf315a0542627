package history_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"rollcall/internal/fixture"
	"rollcall/internal/must"
	"rollcall/internal/pgtest"
	"rollcall/internal/postgres/history"
)

func TestMain(m *testing.M) { pgtest.Main(m) }

// day is when the events of the tests begin.
var day = time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)

// recorded fills a schema with six events, a minute apart but for the last two.
func recorded(t *testing.T) (*fixture.Bench, history.History) {
	b := fixture.EmptyBench(t, "")
	b.Exec(`insert into rollcall.events (source, id, type, user_id, outcome, received_at, body) values
		('clerk', 'e1', 'user.created', 'u1', 'applied', '2026-03-01 00:00+00', '{"data":{}}'),
		('clerk', 'e2', 'organization.created', null, 'applied', '2026-03-01 00:01+00', '{}'),
		('clerk', 'e3', 'organizationMembership.created', 'u1', 'parked', '2026-03-01 00:02+00', '{}'),
		('supabase', 'e1', 'after-user-created', 'u2', 'stale', '2026-03-01 00:03+00', null),
		('clerk', 'e4', 'other', null, 'undecodable', '2026-03-01 00:04+00', 'x'),
		('supabase', 'e0', 'after-user-created', 'u1', 'applied', '2026-03-01 00:04+00', '{}')`)
	return b, b.DB.History()
}

func names(events []history.Event) string {
	var list []string
	for _, e := range events {
		list = append(list, e.Source[:1]+e.ID)
	}
	return strings.Join(list, " ")
}

func TestFilters(t *testing.T) {
	t.Parallel()
	_, h := recorded(t)
	for want, f := range map[string]history.Filter{
		"se0 ce4 se1 ce3 ce2 ce1": {},
		"ce4 ce3 ce2 ce1":         {Sources: []string{"clerk"}},
		"se0 ce3 ce1":             {Users: []string{"u1"}},
		"se0 se1 ce3 ce1":         {Users: []string{"u1", "u2", "u1"}},
		"se0 ce1":                 {Users: []string{"u1"}, Outcomes: []string{"applied"}},
		"ce3":                     {Users: []string{"u1"}, Types: []string{"organizationMembership.created"}},
		"ce2 ce1":                 {Types: []string{"user.created", "organization.created"}},
		"ce4 se1":                 {Outcomes: []string{"undecodable", "stale"}},
		"se1 ce3":                 {Since: day.Add(2 * time.Minute), Until: day.Add(4 * time.Minute)},
		"se0":                     {Users: []string{"u1"}, Since: day.Add(3 * time.Minute)},
		"":                        {Sources: []string{"supabase"}, Outcomes: []string{"parked"}},
	} {
		page := must.Get(h.List(t.Context(), f, history.Paging{Limit: 10}))(t)
		must.Equal(t, names(page.Events), want, fmt.Sprintf("newest first of %+v", f))
		must.Equal(t, page.Next, "", "the end")
		page = must.Get(h.List(t.Context(), f, history.Paging{Limit: 10, Order: history.OldestFirst}))(t)
		slices.Reverse(page.Events)
		must.Equal(t, names(page.Events), want, fmt.Sprintf("oldest first of %+v", f))
		must.Equal(t, must.Get(h.Count(t.Context(), f))(t), int64(len(page.Events)), fmt.Sprintf("count of %+v", f))
	}
}

func TestEvent(t *testing.T) {
	t.Parallel()
	_, h := recorded(t)
	bytes := 11
	want := []history.Event{{Source: "clerk", ID: "e1", Type: "user.created", User: "u1", Outcome: "applied", ReceivedAt: day, Bytes: &bytes}}
	must.Equal(t, must.Get(h.Named(t.Context(), "clerk", "e1", "e9"))(t), want, "of a source")
	all := must.Get(h.Named(t.Context(), "", "e1", "e4"))(t)
	must.Equal(t, names(all), "ce1 se1 ce4", "of any source")
	bodies := must.Get(h.Bodies(t.Context(), all))(t)
	must.Equal(t, bodies, map[history.Key][]byte{{Source: "clerk", ID: "e1"}: []byte(`{"data":{}}`), {Source: "clerk", ID: "e4"}: []byte("x")}, "bodies")
}

// Pages of every size, in both orders, have each event once, though several have arrived at one moment.
func TestPages(t *testing.T) {
	t.Parallel()
	b, h := recorded(t)
	b.Exec(`insert into rollcall.events (source, id, type, user_id, outcome, received_at)
		select case when g % 3 = 0 then 'supabase' else 'clerk' end, 'n' || g, 'user.updated', 'u1', (array['applied', 'stale'])[1 + g % 2], '2026-03-01 00:04+00'
		from generate_series(1, 40) g`)
	must.Equal(t, must.Get(h.List(t.Context(), history.Filter{}, history.Paging{}))(t), history.Page{Events: []history.Event{}}, "a page of none")
	for _, f := range []history.Filter{{}, {Users: []string{"u1"}}} {
		for _, order := range []history.Order{history.NewestFirst, history.OldestFirst} {
			whole := must.Get(h.List(t.Context(), f, history.Paging{Order: order, Limit: 100}))(t)
			for _, size := range []int{1, 7, 44, 46} {
				var all []history.Event
				p := history.Paging{Order: order, Limit: size}
				for more := true; more; more = p.After != "" {
					page := must.Get(h.List(t.Context(), f, p))(t)
					all, p.After = append(all, page.Events...), page.Next
				}
				must.Equal(t, names(all), names(whole.Events), "pages of", size)
			}
		}
	}
	for _, after := range []string{"x", "e30", "bnVsbA"} {
		must.Fail(t, must.Err(h.List(t.Context(), history.Filter{}, history.Paging{Limit: 1, After: after})), history.ErrCursor)
	}
}

// Every statement goes by an index made for it, also by a plan for any parameters.
func TestPlans(t *testing.T) {
	t.Parallel()
	b, _ := recorded(t)
	b.Exec("set enable_seqscan = off; set plan_cache_mode = force_generic_plan; set jit = off; set enable_sort = off")
	const filters = "null, null, null, '-infinity', 'infinity'"
	for name, test := range map[string]struct{ statement, arguments, index string }{
		"newest":          {history.NewestSQL, filters + ", 'infinity', '', '', 50", "events_kinds on events e\n"},
		"newest_of_users": {history.NewestOfUsersSQL, filters + ", 'infinity', '', '', 50, '{u1}'", "events_of_user on events e"},
		"count":           {history.CountSQL, filters, "events_kinds on events e\n"},
		"beginning":       {history.BeginningSQL, "'{clerk}', 'e', 50", "events_pkey on events e"},
		"named":           {history.NamedSQL, "null, '{e1}'", "events_pkey on events e"},
	} {
		b.Exec("prepare " + name + " as " + test.statement)
		plan := strings.Join(b.Rows("explain (costs off) execute "+name+" ("+test.arguments+")"), "\n")
		must.Contain(t, plan, test.index)
		must.Lack(t, plan, "Seq Scan on events", "Bitmap")
		if strings.HasPrefix(name, "newest") {
			must.Contain(t, plan, "Incremental Sort")
		}
	}
}
