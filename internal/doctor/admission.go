package doctor

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"rollcall/internal/admission"
	"rollcall/internal/config"
	"rollcall/internal/event"
	"rollcall/internal/postgres/condition"
	"rollcall/internal/source"
)

// rules judges what the configuration alone shows of the rules about sign-ups.
func (e *examination) rules() {
	for _, s := range e.File.Sources {
		if s.Admission == nil {
			continue
		}
		if len(s.SigningSecrets) == 0 {
			e.add(admissionClosed, e.at("sources", s.Name, "admission"),
				fmt.Sprintf("source %s has rules about sign-ups, and no secret for the hook that asks them", s.Name),
				sourceYAML(s.Name, `signing_secrets: ["${SUPABASE_AUTH_HOOK_SECRET}"]`))
		}
		denied := slices.Concat(s.Admission.DenyDomains, s.Admission.DeniedByFile)
		if both := admission.Both(s.Admission.AllowDomains, denied); len(both) > 0 {
			at := e.at("sources", s.Name, "admission", "allow_domains")
			what := fmt.Sprintf("source %s allows %s, which it denies, too: who signs up with it is refused",
				s.Name, strings.Join(both, ", "))
			e.add(admissionBoth, at, what, orEdit(config.Remedy{}, at))
		}
	}
}

// conditions tries the conditions about sign-ups.
func (e *examination) conditions(ctx context.Context) error {
	for _, s := range e.File.Sources {
		c := e.Conditions[s.Name]
		if c == nil {
			continue
		}
		found, err := c.Check(ctx)
		if err != nil {
			return err
		}
		for _, f := range found {
			remedy := orEdit(config.Remedy{}, f.At)
			if _, grant, found := strings.Cut(f.What, "; run: "); found {
				remedy = sql("%s", grant)
			}
			e.add(f.Code, f.At, f.Target+": "+f.What, remedy)
		}
		if len(found) == 0 {
			e.condition(ctx, s, c)
		}
	}
	return nil
}

// condition asks one for a made-up user, twice: the first time it may have to connect.
func (e *examination) condition(ctx context.Context, s config.Source, c *condition.Condition) {
	email := "rollcall-doctor@example.com"
	user := &event.User{Row: event.Row{Source: s.Name, ID: source.SampleID(s.Provider)}, Email: &email}
	var took time.Duration
	var err error
	for range 2 {
		began := time.Now()
		_, err = c.Met(ctx, user)
		took = time.Since(began)
	}
	switch {
	case errors.Is(err, condition.ErrSlow), err == nil && took > e.Bounds.Condition:
		what := fmt.Sprintf("the condition of source %s took %v for a user who does not exist: "+
			"a sign-up waits for it, and after %v when_unavailable decides", s.Name, took.Round(time.Millisecond), condition.Timeout)
		e.add(admissionSlow, c.At, what, command("rollcall send %s before-user-created --dry-run", s.Name))
	case err != nil:
		e.unseen("the condition about sign-ups of source "+s.Name, err.Error())
	}
}
