package reconcile_test

import (
	"fmt"
	"strings"
	"testing"

	"rollcall/internal/fixture"
	"rollcall/internal/must"
	"rollcall/internal/postgres/directory"
	"rollcall/internal/reconcile"
)

// The table decides: a user who is there again after a deletion lives, and one whose version was set
// back is followed. Metadata that nests too deep for the text of a JSON does no harm.
func TestRunFollowsTheTable(t *testing.T) {
	t.Parallel()
	p := reconciled(t, 40)
	p.Exec("delete from auth.users where id = '" + fixture.ID(1) + "'")
	p.wantRun(directory.Reconciled{Deleted: 1, Unchanged: 39})
	p.InsertUsers(1, 1)
	p.Exec("update auth.users set updated_at = '2020-01-01' where id = '" + fixture.ID(2) + "'")
	p.Exec("update auth.users set updated_at = null, email = 'never@x.test' where id = '" + fixture.ID(4) + "'")
	p.Exec("update rollcall.users set version = 4102444800123456, email = 'future@x.test' where id = '" + fixture.ID(5) + "'")
	p.Exec(`update auth.users set raw_user_meta_data = '{"a": ` + strings.Repeat("[", 250) + strings.Repeat("]", 250) + `}' where id = '` + fixture.ID(3) + "'")
	want := directory.Reconciled{Updated: 4, Touched: 1, Unchanged: 35}
	if got, err := reconcile.Preview(t.Context(), p.Config, func(reconcile.Finding) error { return nil }); got != want || err != nil {
		t.Errorf("a dry run: %+v, %v", got, err)
	}
	p.wantRun(want)
	p.wantRun(directory.Reconciled{Unchanged: 40})
	p.Want("select count(*)::text from profiles", "40")
	p.Want(inStep, "0")
}

// Metadata that takes more than limits.metadata keeps its last known value: that is said once, and
// the user is followed in all else.
func TestRunKeepsWhatIsTooLarge(t *testing.T) {
	t.Parallel()
	p := reconciled(t, 3)
	p.Exec(`update auth.users set email = 'new@x.test', raw_user_meta_data = jsonb_build_object('full_name', 'New', 'a', (select string_agg(md5(g::text), '') from generate_series(1, 40000) g)) where id = '` + fixture.ID(1) + `'`)
	var said string
	must.Get(reconcile.Preview(t.Context(), p.Config, func(f reconcile.Finding) error { said += fmt.Sprint(f); return nil }))(t)
	if want := "{" + fixture.ID(1) + " updated  [{email 1…@x….test n…@x….test} {kept null a… f… f… l… r… u…}]}"; said != strings.ReplaceAll(want, "a… f… f… l… r… u…", "avatar_url first_name full_name last_name raw_user_meta_data username") {
		t.Errorf("a dry run says %s", said)
	}
	p.wantRun(directory.Reconciled{Updated: 1, Unchanged: 2})
	p.Want("select email || ' ' || full_name || ' ' || cardinality(kept) from rollcall.users where kept is not null", "new@x.test user 1 6")
	p.wantRun(directory.Reconciled{Unchanged: 3})
	p.Exec("update auth.users set raw_user_meta_data = '{}' where id = '" + fixture.ID(1) + "'")
	p.wantRun(directory.Reconciled{Updated: 1, Unchanged: 2})
	p.Want("select count(*)::text from rollcall.users where kept is not null", "0")
}
