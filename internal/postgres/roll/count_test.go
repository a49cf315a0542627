package roll_test

import (
	"testing"

	"rollcall/internal/event"
	"rollcall/internal/fixture"
	"rollcall/internal/must"
	"rollcall/internal/postgres/roll"
)

// Each user counts as alive or deleted, once, and as parked once, for however many configured targets; a placeholder
// is no user yet.
func TestCount(t *testing.T) {
	t.Parallel()
	b := fixture.NewBench(t, fixture.PTable, fixture.Everyone())
	must.Equal(t, len(must.Get(b.Count(t.Context()))(t)), 0, "sources of an empty roll")
	b.Applies(fixture.All(event.Applied, 3),
		fixture.Updated("u_a", 5, ""), fixture.Updated("u_b", 5, ""), fixture.Updated("u_c", 5, ""))
	b.Exec(`
		update rollcall.users set deleted_at = now() where id = 'u_c';
		insert into rollcall.users (source, id, version) values ('app', 'u_placeholder', null), ('other', 'u_a', 1);
		insert into rollcall.parked (target, source, user_id, retry_at, sqlstate, error)
		select target, source, id, now(), '23514', 'no' from (values
			('` + fixture.Everyone().Name + `', 'app', 'u_a'), ('` + fixture.Everyone().Name + `', 'app', 'u_c'),
			('removed from the configuration', 'app', 'u_a'), ('removed from the configuration', 'app', 'u_b'),
			('` + fixture.Everyone().Name + `', 'gone', 'u_z')) v (target, source, id)`)
	got := map[string]roll.Count{}
	for _, c := range must.Get(b.Count(t.Context()))(t) {
		got[c.Source] = c
	}
	must.Equal(t, got["app"], roll.Count{Source: "app", Live: 2, Deleted: 1, Parked: 2}, "app")
	must.Equal(t, got["other"], roll.Count{Source: "other", Live: 1}, "other")
	must.Equal(t, got["gone"], roll.Count{Source: "gone", Parked: 1}, "users who are parked alone")
}
