package audit_test

import (
	"fmt"
	"testing"

	"rollcall/internal/event"
	"rollcall/internal/fixture"
	"rollcall/internal/must"
	"rollcall/internal/postgres/audit"
)

// What the application's own triggers decide is told apart from what a repair mends.
func TestAuditTellsWhatTriggersDecide(t *testing.T) {
	t.Parallel()
	const functions = fixture.PTable + `
		create function lower_email() returns trigger language plpgsql as $$ begin new.email := lower(new.email); return new; end $$;
		create function no_robots() returns trigger language plpgsql as $$ begin
			perform set_config('search_path', 'nowhere', true);
			if new.name = 'robot' then return null; end if; return new; end $$;
		create function keep_admins() returns trigger language plpgsql as $$ begin
			if old.role = 'admin' then return null; end if; return old; end $$;
		create function touch() returns trigger language plpgsql as $$ begin return null; end $$;`
	robot := func(id string) event.Event {
		return fixture.With(fixture.Updated(id, 1, id+"@x"), func(u *event.User) { u.FirstName = new("robot") })
	}
	lower := `create trigger lower_email before insert or update on p for each row execute function lower_email();`
	refuse := `create function refuse() returns trigger language plpgsql as $$ begin
			if new.email = 'bad' then raise exception 'no'; end if; return new; end $$;
		create trigger refuse before insert or update on p for each row execute function refuse();`
	robots := `create trigger no_robots before insert on p for each row execute function no_robots();`
	tests := []struct {
		name, triggers string
		events         []event.Event
		spoil          string
		want, repaired []string
	}{
		{"rewritten", lower, []event.Event{fixture.Updated("a", 1, "A@x"), fixture.Updated("b", 1, "b@x"), fixture.Updated("c", 1, "C@x")}, "update p set name = 'other' where id in ('b', 'c')",
			[]string{"present=0 missing=0 adoptable=0 extra=0 different=2 parked=0 suppressed=0 rewritten=1", `rewritten 1 a [email] ["lower_email" (function public.lower_email())]`},
			[]string{"present=1 missing=0 adoptable=0 extra=0 different=0 parked=0 suppressed=0 rewritten=2", `rewritten 2 a [email] ["lower_email" (function public.lower_email())]`}},
		{"suppressed", robots, []event.Event{robot("a"), fixture.Updated("b", 1, "b@x"), fixture.Updated("c", 1, "c@x")}, "delete from p where id = 'b'",
			[]string{"present=1 missing=1 adoptable=0 extra=0 different=0 parked=0 suppressed=1 rewritten=0", `suppressed 1 a [] ["no_robots" (function public.no_robots())]`},
			[]string{"present=2 missing=0 adoptable=0 extra=0 different=0 parked=0 suppressed=1 rewritten=0", `suppressed 1 a [] ["no_robots" (function public.no_robots())]`}},
		{"a removal suppressed", `create trigger keep_admins before delete on p for each row execute function keep_admins();`,
			[]event.Event{fixture.Updated("a", 1, "a@x"), fixture.Updated("b", 1, "b@x")}, "update p set role = 'admin' where id = 'a'; update rollcall.users set deleted_at = now(), email = null",
			[]string{"present=0 missing=0 adoptable=0 extra=1 different=0 parked=0 suppressed=1 rewritten=0", `suppressed 1 a [] ["keep_admins" (function public.keep_admins())]`},
			[]string{"present=0 missing=0 adoptable=0 extra=0 different=0 parked=0 suppressed=1 rewritten=0", `suppressed 1 a [] ["keep_admins" (function public.keep_admins())]`}},
		{"triggers that change nothing", `create trigger touch after insert or update on p for each row execute function touch();`,
			[]event.Event{fixture.Updated("a", 1, "a@x"), fixture.Updated("b", 1, "b@x")}, "delete from p where id = 'a'; update p set name = 'x'",
			[]string{"present=0 missing=1 adoptable=0 extra=0 different=1 parked=0 suppressed=0 rewritten=0"},
			[]string{"present=2 missing=0 adoptable=0 extra=0 different=0 parked=0 suppressed=0 rewritten=0"}},
		{"a trigger that refuses", refuse + lower, []event.Event{fixture.Updated("a", 1, "A@x"), fixture.Updated("bad", 1, "x@x")}, "update rollcall.users set email = 'bad' where id = 'bad'",
			[]string{"present=0 missing=0 adoptable=0 extra=0 different=1 parked=0 suppressed=0 rewritten=1", `rewritten 1 a [email] ["lower_email" (function public.lower_email()) "refuse" (function public.refuse())]`},
			[]string{"present=0 missing=0 adoptable=0 extra=0 different=0 parked=1 suppressed=0 rewritten=1", `rewritten 1 a [email] ["lower_email" (function public.lower_email()) "refuse" (function public.refuse())]`}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			b := fixture.NewBench(t, functions+tt.triggers, fixture.Everyone())
			must.Get(b.Apply(t.Context(), tt.events))(t)
			b.Exec(tt.spoil)
			before := b.Rows("select xmin, * from p order by id")
			wantOverruled(b, tt.want, audit.Options{})
			b.Want("select xmin, * from p order by id", before...) // counting leaves all as it is
			wantOverruled(b, tt.repaired, audit.Options{Repair: true})
			wantOverruled(b, tt.repaired, audit.Options{})
			users := must.Get(b.DB.Audit().Users(t.Context(), "a", audit.Options{}))(t)
			if s := users[0].Statuses[0]; !s.InStep() || len(tt.repaired) > 1 && len(s.Triggers) == 0 {
				t.Errorf("one user: %+v", s)
			}
		})
	}
}

func wantOverruled(b *fixture.Bench, want []string, o audit.Options) {
	b.T.Helper()
	report := must.Get(b.DB.Audit().Report(b.T.Context(), o))(b.T)
	line := ""
	for _, s := range audit.States {
		line += fmt.Sprintf(" %s=%d", s, report.Tallies[0].Users[s])
	}
	got := []string{line[1:]}
	for _, r := range report.Overruled {
		got = append(got, fmt.Sprint(r.State, " ", r.Users, " ", r.ID, " ", r.Columns, " ", r.Triggers))
	}
	must.Equal(b.T, got, want, "repair ", o.Repair)
	users := report.Tallies[0].Users
	inStep := users[audit.Missing]+users[audit.Extra]+users[audit.Different]+users[audit.Parked] == 0
	must.Equal(b.T, report.InStep(), inStep, "in step, with ", users)
}
