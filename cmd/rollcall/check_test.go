package main

import (
	"io"
	"regexp"
	"strings"
	"testing"

	"rollcall/internal/must"
	"rollcall/internal/source"
)

// What a check has counted, by whatever process, is in the metrics of every replica.
func TestCheckSetsTheMetrics(t *testing.T) {
	t.Parallel()
	in, conn := startShop(t)
	for _, id := range []string{"user_a", "user_b", "user_c"} {
		in.send(signed(t, source.Clerk, source.Hook, clerkUser("user.created", id)))
	}
	must.Get(conn.Exec(t.Context(), "delete from profiles where id = 'user_a'; update profiles set email = 'x' where id = 'user_b'; insert into profiles values ('s', '', '', '')"))(t)
	file := configFile(t, twoSources+shopTargets)
	check := environment{[]string{"check", "-c", file}, env(conn.Config().ConnString()), strings.NewReader(""), io.Discard, io.Discard}
	if code := run(t.Context(), check); code != exitProblems {
		t.Errorf("check ended with %d, want %d", code, exitProblems)
	}
	_, body := get(t, in.admin+"/metrics", "")
	for _, want := range []string{
		`rollcall_target_users{state="present",target="profiles"} 1`, `rollcall_target_users{state="missing",target="profiles"} 1`,
		`rollcall_target_users{state="different",target="profiles"} 1`, `rollcall_target_users{state="extra",target="profiles"} 1`,
		`rollcall_target_users{state="parked",target="profiles"} 0`,
	} {
		if !strings.Contains(body, want) {
			t.Errorf("the metrics lack %s", want)
		}
	}
	if !regexp.MustCompile(`rollcall_target_checked_timestamp_seconds\{target="profiles"\} \d\.\d+e\+09`).MatchString(body) {
		t.Error("the metrics don't say when the target was checked")
	}
}
