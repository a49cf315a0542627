package sample

import (
	"testing"

	"rollcall/internal/must"
	"rollcall/internal/target"
)

// The users of a measurement can be removed where their id is in the key.
func TestRemovalOf(t *testing.T) {
	t.Parallel()
	id, source := target.Assignment{Column: "User Id", Expr: target.Expr{SQL: " new.id\n"}}, target.Assignment{Column: "src", Expr: target.Expr{SQL: "new.source"}}
	for name, tt := range map[string]struct {
		target target.Target
		want   string
	}{
		"key":       {target.Target{Table: "public.User", Key: []string{"src", "User Id"}, Set: []target.Assignment{source, id}}, `delete from "public"."User" where "User Id"::text like '10ad%''s'`},
		"not a key": {target.Target{Table: "p", Key: []string{"src"}, Set: []target.Assignment{source, id}}, ""},
		"computed":  {target.Target{Table: "p", Key: []string{"User Id"}, Set: []target.Assignment{{Column: "User Id", Expr: target.Expr{SQL: "md5(new.id)"}}}}, ""},
	} {
		tt.target.From = []target.Origin{{Source: "supabase"}}
		must.Equal(t, removalOf(&tt.target, "supabase", map[string]string{"new.id": "10ad%'s"}), tt.want, name)
		must.Equal(t, removalOf(&tt.target, "clerk", map[string]string{"new.id": "10ad%"}), "", name+" of a source that it doesn't follow")
	}
}
