package main

import (
	"strings"
	"testing"

	"rollcall/internal/pgtest"
)

// A warning is logged at the start, and the target works all the same.
func TestServeWarns(t *testing.T) {
	t.Parallel()
	url := pgtest.NewWith(t, pgtest.Auth, `create table profiles (id uuid primary key references auth.users, email text, name text not null, role text not null);
		grant create on schema public to public`)
	yaml := strings.Replace(twoSources+shopTargets, "table: public.profiles", "from: [supabase]\n    table: public.profiles", 1)
	in := startServe(t, yaml, env(url))
	in.log.await(t, "ready", 1)
	said := in.log.await(t, "a target needs attention", 1)
	warning, _ := said["warning"].(string)
	if said["level"] != "WARN" || said["target"] != "profiles" || !strings.Contains(warning, "keeps the provider from deleting a user") || !strings.HasSuffix(warning, "on delete cascade") {
		t.Errorf("the log says %v", said)
	}
	for i, want := range []string{"is a superuser", "run: revoke create on schema public from public"} {
		said := in.log.await(t, "others can act as Rollcall's role", i+1)
		if warning, _ := said["warning"].(string); said["level"] != "WARN" || !strings.Contains(warning, want) {
			t.Errorf("the log says %v, want %q", said, want)
		}
	}
	for _, state := range in.log.Lines("a target is out of service; its users are parked") {
		t.Errorf("the log says %v", state)
	}
	var stdout, stderr strings.Builder
	w := environment{[]string{"migrate", "--print", "-c", configFile(t, yaml)}, env(url), strings.NewReader(""), &stdout, &stderr}
	if code := run(t.Context(), w); code != exitFine || !strings.HasPrefix(stderr.String(), "rollcall: warning: ") || !strings.Contains(stderr.String(), "target profiles: the foreign key") {
		t.Errorf("exit code %d, %s", code, stderr.String())
	}
}
