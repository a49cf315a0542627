package capture_test

import (
	"fmt"
	"strings"
	"testing"

	"rollcall/internal/fixture"
	"rollcall/internal/testtag"
)

// If a user's metadata can't be used, the last known value may stand in an earlier change of the same
// page. The changes of other users are applied meanwhile.
func TestKeptOfOnePage(t *testing.T) {
	t.Parallel()
	p := oldProject(t)
	deep := `{"full_name": "Eve", "a": ` + strings.Repeat("[", 300) + strings.Repeat("]", 300) + `}`
	change := func(n int, email, metadata string) {
		p.Exec(`insert into auth.users (id, email, raw_user_meta_data, updated_at) values ($1, $2, $3, now())
			on conflict (id) do update set email = excluded.email, raw_user_meta_data = excluded.raw_user_meta_data, updated_at = now(), banned_until = 'infinity'`,
			fixture.ID(n), email, metadata)
	}
	change(1, "a1@x.test", `{"full_name": "Ada"}`)
	change(1, "a2@x.test", `{"full_name": "Bea"}`)
	change(1, "a3@x.test", deep)
	change(2, "b@x.test", `{"full_name": "Ben"}`)
	change(1, "a4@x.test", deep)
	change(3, "c@x.test", deep)
	p.runUntilTheEnd()
	p.settled()
	p.Want(shown, "1 a4@x.test Bea", "2 b@x.test Ben", "3 c@x.test -")
	p.Want("select right(id, 1) || banned || coalesce(cardinality(kept), 0) from rollcall.users order by 1", "1true6", "2false0", "3false6")
	p.Exec("delete from auth.users where id = $1", fixture.ID(1))
	p.Exec("update auth.users set deleted_at = now() where id = $1", fixture.ID(3))
	p.settled()
	p.Want(shown, "2 b@x.test Ben")
}

// bomb is metadata of 90 kB whose text takes more than a gigabyte, which PostgreSQL refuses to make.
const bomb = `('{"full_name": "Bomb", "a": [' || repeat('1e131071,', 10000) || '1]}')::jsonb`

// Users of a source whose changes count by their version hold nobody up either, whatever they have
// written: their changes are read without the metadata. Those of one that follows its table are
// never read.
func TestLargeChanges(t *testing.T) {
	testtag.Parallel(t)
	many := testtag.Part(2001)
	for name, open := range map[string]func(testing.TB) *project{"by version": oldProject, "by table": newProject} {
		t.Run(name, func(t *testing.T) {
			p := open(t)
			p.Exec(`insert into auth.users (id, email, raw_user_meta_data, updated_at) values ($1, 'bomb@x.test', `+bomb+`, now())`, fixture.ID(1))
			p.Exec(`insert into auth.users (id, email, raw_user_meta_data, updated_at)
				values ($1, 'large@x.test', jsonb_build_object('full_name', 'Large', 'a', repeat('x', 40000000)), now())`, fixture.ID(2))
			p.Exec(`insert into auth.users (id, email, raw_user_meta_data, updated_at)
				select ('00000000-0000-4000-8000-' || lpad(g::text, 12, '0'))::uuid, g || '@x.test',
					jsonb_build_object('full_name', 'Ada', 'a', (select string_agg(md5(g::text || n::text), '') from generate_series(1, 8000) n)), now()
				from generate_series(3, $1::int) g`, many)
			p.runUntilTheEnd()
			p.settled()
			p.Want("select count(*)::text from profiles where name = 'Ada'", fmt.Sprint(many-2))
			p.Want("select email || ' ' || (name is null) from profiles where id = '"+fixture.ID(2)+"'", "large@x.test true")
			p.Want("select email from profiles where id = '"+fixture.ID(1)+"'", "bomb@x.test")
			p.Want("select coalesce(array_to_string(kept, ' '), '') from rollcall.users where id = '"+fixture.ID(2)+"'", map[string]string{
				"by version": "avatar_url first_name full_name last_name raw_app_meta_data raw_user_meta_data username",
				"by table":   "avatar_url first_name full_name last_name raw_user_meta_data username",
			}[name])
		})
	}
}
