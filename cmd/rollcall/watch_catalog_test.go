package main

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"rollcall/internal/pgtest"
	"rollcall/internal/source"
	"rollcall/internal/testtag"
)

// catalogChanges are tables as they are at the start, the assignment of their column, what becomes of
// them, and the value that every user has in the end.
var catalogChanges = []struct{ name, table, assign, change, want string }{
	{
		"date_to_timestamptz", "create table TABLE (id text primary key, v date)", "new.created_at",
		"alter table TABLE alter v type timestamptz", "2025-10-09 08:53:20.45+00",
	},
	{
		"real_to_double", "create table TABLE (id text primary key, v real)", "(new.raw_user_meta_data->>'ratio')::numeric",
		"alter table TABLE alter v type double precision", "0.1",
	},
	{
		"int_to_bigint", "create table TABLE (id text primary key, v int)", "(new.raw_user_meta_data->>'n')::numeric",
		"alter table TABLE alter v type bigint", "3000000000",
	},
	{
		"enum_value_added", "create type mood as enum ('sad'); create table TABLE (id text primary key, v mood)", "new.raw_user_meta_data->>'mood'",
		"alter type mood add value 'proud'", "proud",
	},
	{
		"domain_relaxed", "create domain short as text check (length(value) < 3); create table TABLE (id text primary key, v short)", "new.raw_user_meta_data->>'mood'",
		"alter domain short drop constraint short_check", "proud",
	},
	{
		"not_null_dropped", "create table TABLE (id text primary key, v text not null)", "new.phone",
		"alter table TABLE alter v drop not null", "null",
	},
	{
		"column_made_anew", "create table TABLE (id text primary key, v int)", "new.raw_user_meta_data->>'n'",
		"alter table TABLE drop v, add v text", "3000000000",
	},
	{
		"table_made_anew", "create table TABLE (id text primary key, v date)", "new.created_at",
		"begin; drop table TABLE; create table TABLE (id text primary key, v timestamptz); commit", "2025-10-09 08:53:20.45+00",
	},
	{
		"key_made_anew", "create table TABLE (id text primary key, v text)", "new.id",
		"alter table TABLE drop constraint TABLE_pkey; select pg_sleep(0.3); alter table TABLE add primary key (id)", "ID",
	},
}

// Tables change while serve runs with the default settings, and users arrive at once. Within five
// seconds (which the tag timing asserts) every one of them is as the changed table can hold it,
// and nobody is parked.
func TestServeNoticesCatalogChanges(t *testing.T) {
	t.Parallel()
	var tables, targets strings.Builder
	targets.WriteString("targets:\n")
	for _, c := range catalogChanges {
		tables.WriteString(strings.ReplaceAll(c.table, "TABLE", c.name) + ";\n")
		fmt.Fprintf(&targets, "  %[1]s:\n    table: public.%[1]s\n    key: id\n    set:\n      id: new.id\n      v: %[2]s\n    on_delete: delete\n", c.name, c.assign)
	}
	url := pgtest.NewWith(t, tables.String())
	in := startServe(t, twoSources+targets.String(), env(url))
	in.log.await(t, "ready", 1)
	conn := connect(t, url)
	script(t, conn, "set timezone = 'UTC'")
	time.Sleep(500 * time.Millisecond) // some time between two looks
	for _, c := range catalogChanges {
		script(t, conn, strings.ReplaceAll(c.change, "TABLE", c.name))
	}
	changed := time.Now()
	patience := time.Minute
	if testtag.Timing {
		patience = 5 * time.Second
	}
	soon := func(sql string) {
		t.Helper()
		if !trueBy(t, conn, changed.Add(patience), sql) {
			t.Errorf("not true in time: %s", sql)
		}
	}
	for _, id := range []string{"one", "two"} {
		body := clerkUser("user.created", id, `"created_at":1760000000450`, `"unsafe_metadata":{"ratio":0.1,"n":3000000000,"mood":"proud"}`)
		if status, outcome, text := in.send(signed(t, source.Clerk, source.Hook, body)); status != 204 {
			t.Fatalf("%s: %d %s %s", id, status, outcome, text)
		}
	}
	for _, c := range catalogChanges {
		for _, id := range []string{"one", "two"} {
			want := strings.ReplaceAll(c.want, "ID", id)
			soon(fmt.Sprintf("select exists (select from %s where id = '%s' and coalesce(v::text, 'null') = '%s')", c.name, id, want))
		}
	}
	soon("select not exists (select from rollcall.parked)")
	t.Logf("all was right %s after the change", time.Since(changed))
	if n := len(in.log.Lines("the table of a target has changed; users written since are settled again")); n < len(catalogChanges) {
		t.Errorf("the log tells of %d changes, want %d at least:\n%s", n, len(catalogChanges), in.log)
	}
	in.log.await(t, "a target is new: its table lacks who was there before it; fill it", 1)
}
