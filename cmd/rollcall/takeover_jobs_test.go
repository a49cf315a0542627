//go:build timing

package main

import (
	"fmt"
	"strings"
	"syscall"
	"testing"
	"time"

	"rollcall/internal/clerktest"
	"rollcall/internal/pgtest"
)

// A replica is stopped, or killed, in the middle of a scheduled reconciliation. Another replica goes
// on where it was. When the first goes on after all, nothing changes.
func TestTakeoverReconcile(t *testing.T) {
	binary := build(t)
	const users = 6000
	for name, signal := range map[string]syscall.Signal{"stopped": syscall.SIGSTOP, "killed": syscall.SIGKILL} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			database := pgtest.NewWith(t, takeoverTables, "alter table profiles alter id type text")
			clerk := clerktest.New(t)
			clerk.PutMany(users)
			clerk.SetDelay(time.Second) // of each page of 500
			file := configFile(t, strings.Replace(takeoverConfig, "supabase: {provider: supabase}",
				fmt.Sprintf(`clerk: {provider: clerk, api: {key: %s, url: "%s"}, reconcile: {schedule: "* * * * *"}}`, clerk.Key(), clerk.URL()), 1))
			conn := connect(t, database)
			started := func() int { return clerk.Requested(clerktest.Count) }

			holder := startProcess(t, binary, file, env(database))
			holder.log.await(t, "ready", 1)
			within(t, "a reconciliation has begun", 2*time.Minute, func() bool { return started() > 0 })
			other := startProcess(t, binary, file, env(database))
			other.log.await(t, "ready", 1)
			within(t, "some users are there", time.Minute, func() bool { return count(t, conn, "select count(*) from profiles") >= 1000 })
			t.Cleanup(func() { _ = holder.cmd.Process.Signal(syscall.SIGCONT) }) // or it would not end
			_ = holder.cmd.Process.Signal(signal)
			began, before := time.Now(), count(t, conn, "select count(*) from profiles")
			within(t, "the other goes on", 2*takeover, func() bool { return count(t, conn, "select count(*) from profiles") > before+500 })
			if took := time.Since(began); took > takeover {
				t.Errorf("taken over after %s, want %s", took, takeover)
			} else {
				t.Logf("taken over after %s", took.Round(100*time.Millisecond))
			}
			if signal == syscall.SIGSTOP {
				_ = holder.cmd.Process.Signal(syscall.SIGCONT)
			}
			line := other.log.await(t, "reconciled", 1)
			if line["created"] != float64(users) || line["failed"] != 0.0 || line["deleted"] != 0.0 {
				t.Errorf("the other says %v", line)
			}
			time.Sleep(2 * time.Second) // for what the first one may still record
			if n := count(t, conn, "select count(*) from profiles"); n != users {
				t.Errorf("%d rows, want %d", n, users)
			}
			if n := count(t, conn, fmt.Sprintf("select count(*) from rollcall.reconciliations where created = %d and finished_at is not null", users)); n != 1 {
				t.Errorf("%d runs ended with %d users, want 1", n, users)
			}
			if lines := other.log.Lines("a job failed"); len(lines) > 0 {
				t.Errorf("the other says %v", lines)
			}
		})
	}
}
