package main

import (
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"rollcall/internal/pgtest"
	"rollcall/internal/postgres"
)

// capturedSource is fed by its capture alone, openSource by its door, too.
const capturedSource = `
database: ${DATABASE_URL}
listen: 127.0.0.1:0
admin_listen: 127.0.0.1:0
sources:
  captured: {provider: supabase}
`

const openSource = `  open: {provider: supabase, signing_secrets: ["${SUPABASE_SECRET}"]}
`

const (
	captureGone  = "a capture is gone, or its trigger is disabled: changes are no longer noted; install it, then reconcile for what was missed"
	captureBack  = "a capture is there again"
	captureNever = "nothing tells of the changes of a source: no capture is installed, and it has neither signing_secrets nor a database_webhook; install the capture, or give it a secret"
)

// What becomes of a trigger is said once, whether it is dropped or disabled; of a source that
// nothing tells of, the first look says how that is mended.
func TestCaptureWatch(t *testing.T) {
	t.Parallel()
	url := pgtest.NewWith(t, pgtest.Auth)
	s, err := read("rollcall.yaml", []byte(capturedSource+openSource), env(url))
	if err != nil {
		t.Fatal(err)
	}
	db, err := postgres.Open(postgres.Config{URL: url})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(db.Close)
	if _, err := db.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	log := &journal{}
	watch := (&service{db: db, setup: s, log: slog.New(slog.NewJSONHandler(log, nil))}).newCaptureWatch()
	install := postgres.Capture{Source: "captured", Table: "auth.users"}
	for i, step := range []struct {
		do   func() error
		said []string // so far
	}{
		{func() error { return nil }, []string{captureNever}},
		{func() error { return nil }, []string{captureNever}},
		{func() error { return db.InstallCapture(t.Context(), install) }, []string{captureNever}},
		{func() error { return db.RemoveCapture(t.Context(), install) }, []string{captureNever, captureGone}},
		{func() error { return nil }, []string{captureNever, captureGone}},
		{func() error { return db.InstallCapture(t.Context(), install) }, []string{captureNever, captureGone, captureBack}},
		{func() error { execute(t, url, "alter table auth.users disable trigger rollcall_capture"); return nil }, []string{captureNever, captureGone, captureBack, captureGone}},
		{func() error { execute(t, url, "drop table auth.users cascade"); return nil }, []string{captureNever, captureGone, captureBack, captureGone}},
	} {
		if err := step.do(); err != nil {
			t.Fatal(err)
		}
		watch.look(t.Context())
		var said []string
		for _, line := range log.lines("") {
			said = append(said, fmt.Sprint(line["msg"]))
			if line["source"] != "captured" || line["msg"] != captureBack && line["command"] != "rollcall capture install captured" {
				t.Errorf("step %d: %v", i, line)
			}
		}
		if got, want := strings.Join(said, "\n"), strings.Join(step.said, "\n"); got != want {
			t.Errorf("step %d: the log says\n%s\nwant\n%s", i, got, want)
		}
	}
}

// The metrics show the trigger and, of sources that have no open door, no last event: an alert
// on its age would never end.
func TestCaptureMetrics(t *testing.T) {
	t.Parallel()
	url := pgtest.NewWith(t, pgtest.Auth)
	in := startServe(t, capturedSource+openSource, env(url))
	in.log.await(t, captureNever, 1)
	change := func(command string) {
		t.Helper()
		w := world{[]string{"capture", command, "captured", "-c", configFile(t, capturedSource)}, env(url), strings.NewReader(""), &strings.Builder{}, &journal{}}
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
			t.Error("there is a last event of a source without a door")
		}
	}
}
