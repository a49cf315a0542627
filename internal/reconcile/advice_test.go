package reconcile_test

import (
	"bytes"
	"log/slog"
	"regexp"
	"strings"
	"testing"
	"time"

	"rollcall/internal/clerktest"
	"rollcall/internal/postgres"
	"rollcall/internal/reconcile"
)

// advice is why the roll can't follow a user, as a run's log says it; a dry run says the same.
func (h *house) advice(user string) string {
	h.t.Helper()
	var log bytes.Buffer
	cfg := h.Config
	cfg.Log = slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
		a.Value = slog.StringValue(strings.ReplaceAll(a.Value.String(), `"`, "”")) // which the handler escapes
		return a
	}}))
	var dry string
	if _, err := reconcile.Preview(h.t.Context(), h.Config, func(f reconcile.Finding) error {
		if f.User == user {
			dry = f.Reason
		}
		return nil
	}); err != nil {
		h.t.Fatal(err)
	}
	if tally, err := reconcile.Run(h.t.Context(), cfg); err != nil || tally.Failed != 1 {
		h.t.Fatalf("got %+v, error %v, want one who can't be followed", tally, err)
	}
	if !strings.Contains(log.String(), strings.ReplaceAll(dry, `"`, "”")) || dry == "" {
		h.t.Errorf("a dry run says %q, a run %s", dry, &log)
	}
	return dry
}

// follow does literally what an advice says.
func (h *house) follow(advice string) {
	h.t.Helper()
	sql := regexp.MustCompile(`run (.*?;)`).FindStringSubmatch(advice)
	if sql == nil || !strings.Contains(advice, "rollcall reconcile "+h.Source.Name()) {
		h.t.Fatalf("nothing to do in %q", advice)
	}
	h.exec(sql[1])
}

// At Clerk nobody sets updated_at: any change does.
func TestAdviceAtClerk(t *testing.T) {
	t.Parallel()
	o, ids := filled(t, 1)
	o.exec("update rollcall.users set version = version + 60000000, email = 'other@x.test'")
	advice := o.advice(ids[0])
	if want := "change the user at Clerk, which sets updated_at, and run rollcall reconcile clerk"; !strings.HasSuffix(advice, want) {
		t.Fatalf("got %q, want %q", advice, want)
	}
	o.clerk.Update(ids[0], func(u *clerktest.User) { u.FirstName, u.UpdatedAt = "Grace", time.Now() })
	o.wantRun(postgres.Reconciled{Updated: 1})
	o.inStep()

	o.exec("update rollcall.users set version = 4102444800123456, email = 'other@x.test', changed_at = changed_at - interval '1 hour'")
	o.follow(o.advice(ids[0]))
	o.wantRun(postgres.Reconciled{Created: 1})
	o.inStep()
	o.wantRun(postgres.Reconciled{Unchanged: 1})
}
