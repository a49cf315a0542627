package app

import (
	"fmt"
	"strings"
	"testing"

	"rollcall/internal/must"
	"rollcall/internal/pgtest"
	"rollcall/internal/postgres"
	"rollcall/internal/postgres/outbox"
)

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
	s := readOn(t, capturedSources, url)
	db := must.Get(postgres.Open(postgres.Config{URL: url}))(t)
	t.Cleanup(db.Close)
	must.Get(db.Migrate(t.Context()))(t)
	log := &journal{}
	watch := (&service{db: db, setup: s, log: s.Logger(log)}).newCaptureWatch()
	install := outbox.Capture{Source: "captured", Table: "auth.users"}
	for i, step := range []struct {
		do   func() error
		said []string // so far
	}{
		{func() error { return nil }, []string{captureNever}},
		{func() error { return nil }, []string{captureNever}},
		{func() error { return db.Outbox().Install(t.Context(), install) }, []string{captureNever}},
		{func() error { return db.Outbox().Remove(t.Context(), install) }, []string{captureNever, captureGone}},
		{func() error { return nil }, []string{captureNever, captureGone}},
		{func() error { return db.Outbox().Install(t.Context(), install) }, []string{captureNever, captureGone, captureBack}},
		{func() error { execute(t, url, "alter table auth.users disable trigger rollcall_capture"); return nil }, []string{captureNever, captureGone, captureBack, captureGone}},
		{func() error { execute(t, url, "drop table auth.users cascade"); return nil }, []string{captureNever, captureGone, captureBack, captureGone}},
	} {
		must.Do(t, step.do())
		watch.look(t.Context())
		var said []string
		for _, line := range log.Lines("") {
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
