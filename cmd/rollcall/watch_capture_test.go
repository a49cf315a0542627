package main

import (
	"fmt"
	"strings"
	"testing"

	"rollcall/internal/pgtest"
)

// capturedSource is fed by its capture alone, openSource by its endpoint, too.
const capturedSource = `
database: ${DATABASE_URL}
listen: 127.0.0.1:0
admin_listen: 127.0.0.1:0
sources:
  captured: {provider: supabase}
`

const openSource = `  open: {provider: supabase, signing_secrets: ["${SUPABASE_SECRET}"]}
`

const captureNever = "nothing tells of the changes of a source: no capture is installed, and it has neither signing_secrets nor a database_webhook; install the capture, or give it a secret"

// The metrics show the trigger and, of sources that have no open endpoint, no last event: an alert
// on its age would never end.
func TestCaptureMetrics(t *testing.T) {
	t.Parallel()
	url := pgtest.NewWith(t, pgtest.Auth)
	in := startServe(t, capturedSource+openSource, env(url))
	in.log.await(t, captureNever, 1)
	change := func(command string) {
		t.Helper()
		w := environment{[]string{"capture", command, "captured", "-c", configFile(t, capturedSource)}, env(url), strings.NewReader(""), &strings.Builder{}, &journal{}}
		if code := run(t.Context(), w); code != exitFine {
			t.Fatalf("capture %s: exit code %d, %s", command, code, w.stderr)
		}
	}
	for _, step := range []struct {
		command   string
		installed int
	}{{"install", 1}, {"remove", 0}} {
		change(step.command)
		_, body := get(t, in.admin+"/metrics", "")
		for _, want := range []string{
			fmt.Sprintf("rollcall_capture_installed{source=%q} %d\n", "captured", step.installed),
			"rollcall_capture_installed{source=\"open\"} 0\n", "rollcall_capture_oldest_seconds{source=\"captured\"} 0\n",
			"rollcall_last_verified_event_timestamp_seconds{source=\"open\"} 0\n",
		} {
			if !strings.Contains(body, want) {
				t.Errorf("after capture %s there is no %s", step.command, want)
			}
		}
		if strings.Contains(body, `rollcall_last_verified_event_timestamp_seconds{source="captured"}`) {
			t.Error("there is a last event of a source without an endpoint")
		}
	}
}
