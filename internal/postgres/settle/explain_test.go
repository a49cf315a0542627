package settle_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"rollcall/internal/event"
	"rollcall/internal/fixture"
	"rollcall/internal/must"
	"rollcall/internal/postgres/audit"
	"rollcall/internal/target"
)

const reasonsTable = `
	create type colour as enum ('red', 'green', 'blue');
	create type many as enum ('a', 'b', 'c', 'd', 'e', 'f', 'g', 'h', 'i', 'j', 'k', 'l');
	create domain short as varchar(3); create domain positive as int check (value > 0);
	create table p (id text primary key, email text unique, age int, n int, name varchar(5), fixed char(2), c colour, cs colour[], m many,
		d short, pos positive, num numeric(3, 1), born date, bits bit(3), must text not null default '', low int check (low < 10), a int, b int,
		constraint both_of check (a < b), word text);
	create schema app;
	create function app.no_x() returns trigger language plpgsql as $$ begin
		if new.word = 'raise' then raise exception 'secret words of %', new.email; end if;
		if new.word = 'divide' then new.n := 1 / 0; end if;
		return new; end $$;
	create trigger no_x before insert or update on p for each row execute function app.no_x();
	create function public.grumble(word text) returns text language plpgsql as $$ begin
		if word = 'grumble' then raise exception 'secret words about %', word; end if; return word; end $$;`

// everyType is a target with a column of each type, set from the user's metadata.
func everyType() target.Target {
	t := target.Target{Name: "reasons", At: "test.yaml:1:1", Table: "public.p", From: fixture.FromApp, Key: []string{"id"}, OnDelete: target.OnDelete{Action: target.DeleteSet},
		Set: fixture.Assign("id: new.id", "email: new.email"), Where: &target.Expr{SQL: "coalesce(new.raw_user_meta_data->>'in', 'true')::boolean"}}
	for _, column := range strings.Fields("age n name fixed c m d pos num born bits low a b") {
		t.Set = append(t.Set, fixture.Assign(column+": new.raw_user_meta_data->>'"+column+"'")...)
	}
	t.Set = append(t.Set, fixture.Assign("must: coalesce(new.raw_user_meta_data->>'must', '')", "word: public.grumble(new.raw_user_meta_data->>'word')")...)
	t.OnInsert = fixture.Assign("cs: array[new.raw_user_meta_data->>'cs']")
	t.OnDelete.Set = fixture.Assign("email: null", "n: new.external_id", "low: 1")
	return t
}

// meta is a user with metadata.
func meta(t *testing.T, id string, values map[string]string) event.Event {
	t.Helper()
	text := must.Get(json.Marshal(values))(t)
	return fixture.With(fixture.Updated(id, 1, id+"@x.test"), func(u *event.User) { u.RawUserMetaData = string(text) })
}

// The reason why a user is parked names the column, what an enum has, or the trigger that raised.
func TestReasonNamesTheColumn(t *testing.T) {
	t.Parallel()
	const raised = "raised an error; the server's log has its words"
	tests := []struct{ column, value, state, want string }{
		{"age", "old", "22P02", `column "age": invalid input syntax for type integer: "…"`},
		{"n", "3000000000", "22003", `column "n": value "…" is out of range for type integer`},
		{"name", "too long", "22001", `column "name": value too long for type character varying(5)`},
		{"fixed", "long", "22001", `column "fixed": value too long for type character(2)`},
		{"c", "pink", "22P02", `column "c": invalid input value for enum colour: "…"; it has red, green, blue`},
		{"cs", "pink", "22P02", `column "cs": invalid input value for enum colour: "…"; it has red, green, blue`},
		{"m", "z", "22P02", `column "m": invalid input value for enum many: "…"; it has a, b, c, d, e, f, g, h, i, j, …`},
		{"d", "long", "22001", `column "d": value too long for type character varying(3)`},
		{"pos", "-1", "23514", `column "pos": value for domain positive violates check constraint "positive_check"`},
		{"num", "1000", "22003", `column "num": numeric field overflow`},
		{"born", "ada@x.test", "22007", `column "born": invalid input syntax for type date: "…"`},
		{"bits", "1", "22026", `column "bits": bit string length 1 does not match type bit(3)`},
		{"low", "11", "23514", `new row for relation "p" violates check constraint "p_low_check" (column "low")`},
		{"a", "5", "23514", `new row for relation "p" violates check constraint "both_of" (columns "a", "b")`},
		{"email", "taken", "23505", `duplicate key value violates unique constraint "p_email_key" (column "email")`},
		{"word", "raise", "P0001", `trigger "no_x" (function app.no_x()) ` + raised},
		{"word", "divide", "22012", `trigger "no_x" (function app.no_x()): division by zero`},
		{"word", "grumble", "P0001", `column "word": function public.grumble(text) ` + raised},
		{"in", "perhaps", "22P02", `where: invalid input syntax for type boolean: "…"`},
	}
	b := fixture.NewBench(t, reasonsTable+"insert into p (id, email) values ('x', 'taken@x.test')", everyType())
	var events []event.Event
	for i, tt := range tests {
		e := meta(t, fmt.Sprintf("u%02d", i), map[string]string{tt.column: tt.value, "b": "3"})
		if tt.column == "email" {
			e = fixture.Updated(fmt.Sprintf("u%02d", i), 1, "taken@x.test")
		}
		events = append(events, e)
	}
	both := meta(t, "v", map[string]string{"age": "old", "n": "many"})
	b.Applies(append(fixture.All(event.Parked, len(events)+1), event.Applied), append(events, both, fixture.Updated("w", 1, "w@x.test"))...)
	for i, tt := range tests {
		b.Want(fmt.Sprintf("select sqlstate, error from rollcall.parked where user_id = 'u%02d'", i), tt.state+"|"+tt.want)
	}
	b.Want("select error from rollcall.parked where user_id = 'v'", `columns "age", "n": invalid input syntax for type integer: "…"`)
	b.Want("select id from p where id <> 'x'", "w")
	b.Want("select count(*) from rollcall.parked where error ~ 'secret|x.test|pink|perhaps'", "0")
}

// Of many who are refused in the same words a few are tried.
func TestReasonOfMany(t *testing.T) {
	t.Parallel()
	b := fixture.NewBench(t, reasonsTable, everyType())
	var events []event.Event
	for i := range 256 {
		events = append(events, meta(t, fmt.Sprintf("u%03d", i), map[string]string{"low": "none", "a": "x"}))
	}
	b.Applies(fixture.All(event.Parked, len(events)), events...)
	b.Want("select error, count(*) from rollcall.parked group by 1", `columns "low", "a": invalid input syntax for type integer: "…"|256`)
}

// The same of a user who is gone, of one who was parked before, and in a check.
func TestReasonOfRemovalsAndChecks(t *testing.T) {
	t.Parallel()
	target := everyType()
	target.Where = nil
	b := fixture.NewBench(t, reasonsTable, target)
	b.Applies(fixture.All(event.Applied, 2), fixture.Updated("a", 1, "a@x.test"), fixture.Updated("b", 1, "b@x.test"))
	leaver := fixture.Gone("a", 2)
	leaver.User.ExternalID = new("many")
	b.Applies(fixture.All(event.Parked, 1), leaver)
	const want = `column "n": invalid input syntax for type integer: "…"`
	b.Want("select error from rollcall.parked", want)
	b.Exec("update rollcall.parked set retry_at = now(), error = ''")
	must.Equal(t, must.Get(b.Parked.CatchUp(t.Context(), "reasons"))(t), 1, "users tried")
	b.Want("select error from rollcall.parked", want)

	b.Exec(`update rollcall.users set raw_user_meta_data = '{"age":"old"}' where id = 'b'`)
	report := must.Get(b.DB.Audit().Report(t.Context(), audit.Options{}))(t)
	must.Equal(t, report.Refused, []audit.Refused{{Target: "reasons", Source: "app", ID: "b", Error: `column "age": invalid input syntax for type integer: "…" (22P02)`}})
}

// An expression that is slow, or that fails in another way when it is tried alone, leaves the
// reason as PostgreSQL has said it, and the batch as it was.
func TestReasonIsNoObstacle(t *testing.T) {
	t.Parallel()
	target := fixture.Everyone()
	target.Set = append(target.Set, fixture.Assign("role: slow(new.id)")...)
	target.OnInsert = nil
	b := fixture.NewBench(t, `create table p (id text primary key, email text check (email <> ''), name varchar(3), role text);
		create function slow(id text) returns text language plpgsql as $$ begin
			if id like 's%' then perform pg_sleep(0.3); end if; return null; end $$`, target)
	b.ExplainTime = 500 * time.Millisecond
	events := []event.Event{fixture.Updated("a", 1, "a@x.test")}
	for i := range 3 {
		events = append(events, fixture.With(fixture.Updated(fmt.Sprint("s", i), 1, "s@x.test"), func(u *event.User) { u.FirstName = new("longer") }))
	}
	began := time.Now()
	b.Applies([]event.Outcome{event.Applied, event.Parked, event.Parked, event.Parked}, events...)
	t.Logf("it took %s", time.Since(began))
	b.Want("select distinct sqlstate, error like '%value too long for type character varying(3)' from rollcall.parked", "22001|t")
	b.Want("select id from p", "a")
}
