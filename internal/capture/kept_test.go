package capture_test

import (
	"strings"
	"testing"
)

// If a user's metadata can't be used, the last known value may stand in an earlier change of the same
// page. The changes of other users are applied meanwhile.
func TestKeptOfOnePage(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	deep := `{"full_name": "Eve", "a": ` + strings.Repeat("[", 300) + strings.Repeat("]", 300) + `}`
	change := func(n int, email, metadata string) {
		h.exec(`insert into auth.users (id, email, raw_user_meta_data, updated_at) values ($1, $2, $3, now())
			on conflict (id) do update set email = excluded.email, raw_user_meta_data = excluded.raw_user_meta_data, updated_at = now(), banned_until = 'infinity'`,
			id(n), email, metadata)
	}
	change(1, "a1@x.test", `{"full_name": "Ada"}`)
	change(1, "a2@x.test", `{"full_name": "Bea"}`)
	change(1, "a3@x.test", deep)
	change(2, "b@x.test", `{"full_name": "Ben"}`)
	change(1, "a4@x.test", deep)
	change(3, "c@x.test", deep)
	h.run()
	t.Cleanup(func() { h.stop() })
	h.settled()
	h.want(shown, "1 a4@x.test Bea", "2 b@x.test Ben", "3 c@x.test -")
	h.want("select right(id, 1) || banned || coalesce(cardinality(kept), 0) from rollcall.users order by 1", "1true6", "2false0", "3false6")
	h.exec("delete from auth.users where id = $1", id(1))
	h.exec("update auth.users set deleted_at = now() where id = $1", id(3))
	h.settled()
	h.want(shown, "2 b@x.test Ben")
}
