package sample

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"time"

	"rollcall/internal/admission"
	"rollcall/internal/app"
	"rollcall/internal/cli"
	"rollcall/internal/event"
	"rollcall/internal/postgres/condition"
)

// judged is a sign-up and what the rules of its source say about it.
type judged struct {
	Source  string            `json:"source"`
	Type    string            `json:"type"`
	User    string            `json:"user"`
	Verdict admission.Verdict `json:"verdict"`
	Rule    admission.Rule    `json:"rule"`
	Reason  string            `json:"reason"`
	// Outage is what when_unavailable makes of an unavailable verdict: admit or refuse.
	Outage string          `json:"when_unavailable,omitempty"`
	Error  string          `json:"error,omitempty"`
	Answer json.RawMessage `json:"answer,omitempty"`
}

// judge prints what serve would decide about a sign-up. The database is asked only where the lists leave it to the
// condition.
func (p *preview) judge(ctx context.Context) error {
	e := p.request.Event()
	j := judged{Source: p.draft.Source.Name(), Type: e.Type, User: e.UserID}
	j.decide(ctx, p.draft, p.draft.setup.Rules(j.Source), p.request.Announced())
	return j.report(p.env, p.output)
}

// decide asks the rules in their order, as serve does.
func (j *judged) decide(ctx context.Context, d *draft, rules *admission.Rules, user *event.User) {
	decision, err := rules.Decide(user.Email, func() (bool, error) { return askOnce(ctx, d, user) })
	if err != nil {
		j.Error, j.Outage = err.Error(), d.setup.WhenUnavailable(j.Source)
	}
	j.Verdict, j.Rule, j.Reason = decision.Verdict, decision.Rule, decision.Reason()
	if j.Verdict == admission.Refused {
		j.Answer = rules.Reply()
	}
}

// askTime bounds the condition, with the time to connect.
const askTime = condition.Timeout + 5*time.Second

func askOnce(ctx context.Context, d *draft, user *event.User) (bool, error) {
	db, err := d.setup.Open(d.setup.Logger(io.Discard))
	if err != nil {
		return false, err
	}
	defer app.CloseSoon(db)
	ctx, cancel := context.WithTimeout(ctx, askTime)
	defer cancel()
	met, err := d.setup.Conditions(db)[d.Source.Name()].Met(ctx, user)
	return met, err
}

func (j *judged) report(env cli.Env, output string) error {
	if output == "json" {
		encoder := json.NewEncoder(event.PrintableTo(env.Stdout))
		encoder.SetEscapeHTML(false)
		return encoder.Encode(j)
	}
	line := fmt.Sprintf("%-11s  %-17s  %-36s  %s", j.Verdict, j.Rule, j.User, j.Reason)
	if j.Error != "" {
		line += fmt.Sprintf("\n     %s: %s", j.Outage, j.Error)
	}
	if j.Answer != nil {
		line += "\n     200 " + string(j.Answer)
	}
	_, err := fmt.Fprintln(event.PrintableTo(env.Stdout), line)
	return err
}
