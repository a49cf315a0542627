package reconcile_test

import (
	"bytes"
	"log/slog"
	"regexp"
	"strings"
	"testing"
	"time"

	"rollcall/internal/clerktest"
	"rollcall/internal/postgres/directory"
	"rollcall/internal/reconcile"
)

// advice is why the roll can't follow a user, as a run's log says it; a dry run says the same.
func (p *project) advice(user string) string {
	p.T.Helper()
	var log bytes.Buffer
	cfg := p.Config
	cfg.Log = slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
		a.Value = slog.StringValue(strings.ReplaceAll(a.Value.String(), `"`, "”")) // which the handler escapes
		return a
	}}))
	var dry string
	if _, err := reconcile.Preview(p.T.Context(), p.Config, func(f reconcile.Finding) error {
		if f.User == user {
			dry = f.Reason
		}
		return nil
	}); err != nil {
		p.T.Fatal(err)
	}
	if tally, err := reconcile.Run(p.T.Context(), cfg); err != nil || tally.Failed != 1 {
		p.T.Fatalf("got %+v, error %v, want one who can't be followed", tally, err)
	}
	if !strings.Contains(log.String(), strings.ReplaceAll(dry, `"`, "”")) || dry == "" {
		p.T.Errorf("a dry run says %q, a run %s", dry, &log)
	}
	return dry
}

// follow does literally what an advice says.
func (p *project) follow(advice string) {
	p.T.Helper()
	sql := regexp.MustCompile(`run (.*?;)`).FindStringSubmatch(advice)
	if sql == nil || !strings.Contains(advice, "rollcall reconcile "+p.Source.Name()) {
		p.T.Fatalf("nothing to do in %q", advice)
	}
	p.Exec(sql[1])
}

// At Clerk nobody sets updated_at: any change does.
func TestAdviceAtClerk(t *testing.T) {
	t.Parallel()
	in, ids := filled(t, 1)
	in.Exec("update rollcall.users set version = version + 60000000, email = 'other@x.test'")
	advice := in.advice(ids[0])
	if want := "change the user at Clerk, which sets updated_at, and run rollcall reconcile clerk"; !strings.HasSuffix(advice, want) {
		t.Fatalf("got %q, want %q", advice, want)
	}
	in.clerk.Update(ids[0], func(u *clerktest.User) { u.FirstName, u.UpdatedAt = "Grace", time.Now() })
	in.wantRun(directory.Reconciled{Updated: 1})
	in.inStep()

	in.Exec("update rollcall.users set version = 4102444800123456, email = 'other@x.test', changed_at = changed_at - interval '1 hour'")
	in.follow(in.advice(ids[0]))
	in.wantRun(directory.Reconciled{Created: 1})
	in.inStep()
	in.wantRun(directory.Reconciled{Unchanged: 1})
}
