//go:build timing

package history_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"rollcall/internal/fixture"
	"rollcall/internal/must"
	"rollcall/internal/postgres/history"
)

// million are events of 90 days: three sources, of which one has 200; types and outcomes from many to a handful;
// users with ten events, and one with 5,000.
const million = `insert into rollcall.events (source, id, type, user_id, outcome, received_at, body)
select case when g % 5000 = 7 then 'rare' when g % 4 = 0 then 'supabase' else 'clerk' end, 'msg_' || md5(g::text),
  case when g % 250000 = 3 then 'organization.deleted' when g % 100 = 1 then 'user.deleted' when g % 10 = 2 then 'organizationMembership.created' when g % 3 = 0 then 'session.created' else 'user.updated' end,
  case when g % 200 = 4 then 'user_busy' else 'user_' || md5((g % 100000)::text) end,
  case when g % 200000 = 5 then 'parked' when g % 1000 = 6 then 'undecodable' when g % 20 = 8 then 'stale' else 'applied' end,
  timestamptz '2026-01-01' + interval '90 days' * (g / 1000000.0), case when g % 3 <> 0 then convert_to(repeat('{"some": "body"}', 8), 'UTF8') end
from generate_series(1, 1000000) g`

// The first page of a million events, for every choice of filters that makes sense, and one far behind it.
func TestFirstPageOfAMillion(t *testing.T) {
	b := fixture.EmptyBench(t, "")
	b.Exec(million)
	h := b.DB.History()
	user := b.Rows("select user_id from rollcall.events where id = 'msg_' || md5('777777')")[0]
	since := time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)
	for _, f := range choices(user, since) {
		for _, order := range []history.Order{history.NewestFirst, history.OldestFirst} {
			var took []time.Duration
			var page history.Page
			for range 7 {
				start := time.Now()
				page = must.Get(h.List(t.Context(), f, history.Paging{Order: order, Limit: 50}))(t)
				took = append(took, time.Since(start))
			}
			slices.Sort(took)
			t.Logf("%8.1f ms  %8.1f ms at worst  %2d events  %s", took[3].Seconds()*1000, took[6].Seconds()*1000, len(page.Events), said(f, order))
			if took[3] > 50*time.Millisecond {
				t.Errorf("the first page of %s takes %s", said(f, order), took[3])
			}
		}
	}
	start := time.Now()
	n := must.Get(h.Count(t.Context(), history.Filter{}))(t)
	t.Logf("counting %d events: %s", n, time.Since(start))
	explained(b)
}

// choices are every combination of one or no filter of each kind.
func choices(user string, since time.Time) []history.Filter {
	list := []history.Filter{{}}
	for _, kind := range [][]func(*history.Filter){
		{func(f *history.Filter) { f.Sources = []string{"clerk"} }, func(f *history.Filter) { f.Sources = []string{"rare"} }},
		{func(f *history.Filter) { f.Users = []string{user} }, func(f *history.Filter) { f.Users = []string{"user_busy"} }},
		{func(f *history.Filter) { f.Types = []string{"user.updated"} }, func(f *history.Filter) { f.Types = []string{"organization.deleted"} }},
		{func(f *history.Filter) { f.Outcomes = []string{"applied"} }, func(f *history.Filter) { f.Outcomes = []string{"parked", "undecodable"} }},
		{func(f *history.Filter) { f.Since = since }, func(f *history.Filter) { f.Until = since }},
	} {
		for _, f := range list[:len(list):len(list)] {
			for _, change := range kind {
				changed := f
				change(&changed)
				list = append(list, changed)
			}
		}
	}
	return list
}

func said(f history.Filter, order history.Order) string {
	words := []string{map[history.Order]string{history.NewestFirst: "newest", history.OldestFirst: "oldest"}[order]}
	for name, list := range map[string][]string{"source": f.Sources, "user": f.Users, "type": f.Types, "outcome": f.Outcomes} {
		if len(list) > 0 {
			words = append(words, name+"="+strings.Join(list, ","))
		}
	}
	if !f.Since.IsZero() {
		words = append(words, "since")
	}
	if !f.Until.IsZero() {
		words = append(words, "until")
	}
	slices.Sort(words[1:])
	return strings.Join(words, " ")
}

// explained shows the plans, with the indexes.
func explained(b *fixture.Bench) {
	b.Exec("set enable_seqscan = off; set jit = off; set enable_sort = off")
	const filters = "null, null, null, '-infinity', 'infinity', 'infinity', '', '', 51"
	for name, statement := range map[string]string{"newest": history.NewestSQL, "newest_of_users": history.NewestOfUsersSQL} {
		arguments := filters
		if name == "newest_of_users" {
			arguments += ", '{user_busy}'"
		}
		b.Exec("prepare " + name + " as " + statement)
		b.T.Logf("%s:\n%s", name, strings.Join(b.Rows("explain (analyze, buffers, costs off) execute "+name+" ("+arguments+")"), "\n"))
	}
}
