package app

import (
	"context"
	"fmt"

	"rollcall/api"
	"rollcall/internal/admin"
	"rollcall/internal/admission"
	"rollcall/internal/config"
	"rollcall/internal/event"
	"rollcall/internal/postgres"
	"rollcall/internal/postgres/catalog"
	"rollcall/internal/postgres/condition"
	"rollcall/internal/target"
)

// Rules are the rules of a source about who may sign up, nil when it has none.
func (s *Setup) Rules(name string) *admission.Rules { return rulesOf(s.configured(name).Admission) }

// WhenUnavailable is what a source does with a user that it can't judge: admit or refuse.
func (s *Setup) WhenUnavailable(name string) string { return s.configured(name).WhenUnavailable }

func rulesOf(a *config.Admission) *admission.Rules {
	if a == nil {
		return nil
	}
	return admission.New(admission.Config{
		Allow: a.AllowDomains, Deny: a.DenyDomains, DenyFile: a.DeniedByFile, Require: a.Require != nil, Message: a.Message,
	})
}

// Conditions are the conditions of the sources about who may sign up, by source.
func (s *Setup) Conditions(db *postgres.DB) map[string]*condition.Condition {
	all := map[string]*condition.Condition{}
	for _, src := range s.Config.Sources {
		if src.Admission != nil && src.Admission.Require != nil {
			all[src.Name] = condition.New(db.Pool(), conditionOf(src))
		}
	}
	return all
}

func conditionOf(src config.Source) target.Condition {
	return target.Condition{Name: config.Path("sources", src.Name, "admission", "require"), Expr: *src.Admission.Require}
}

// lintConditions finds what is wrong with the conditions without a database.
func lintConditions(cfg *config.Config, problems *config.Problems) {
	for _, src := range cfg.Sources {
		if src.Admission == nil || src.Admission.Require == nil {
			continue
		}
		for _, f := range conditionOf(src).Lint(catalog.RollOf(&target.Target{})) {
			problems.AddAs(string(f.Code), config.ParsePos(f.At), "%s: %s", f.Target, f.What)
		}
	}
}

// admissions are the rules of all sources that have some.
func (sv *service) admissions(s *Setup) map[string]api.Admission {
	all, conditions := map[string]api.Admission{}, s.Conditions(sv.db)
	for _, src := range s.Config.Sources {
		rules := rulesOf(src.Admission)
		if rules == nil {
			continue
		}
		a := api.Admission{Rules: rules}
		if c := conditions[src.Name]; c != nil {
			a.Met = c.Met
		}
		all[src.Name] = a
	}
	return all
}

// admissionRules are the rules as operators see them.
func admissionRules(s *Setup) []admin.AdmissionRules {
	var all []admin.AdmissionRules
	for _, src := range s.Config.Sources {
		rules := rulesOf(src.Admission)
		if rules == nil {
			continue
		}
		shown := admin.AdmissionRules{Source: src.Name, WhenUnavailable: src.WhenUnavailable}
		for _, r := range rules.Asked() {
			shown.Rules = append(shown.Rules, string(r))
		}
		all = append(all, shown)
	}
	return all
}

// decide says what the rules of a source decide about a sign-up, and why; "" where it has none.
func (sv *service) decide(ctx context.Context, source string, user *event.User) (event.Outcome, string) {
	s := sv.setup()
	rules, has := sv.admissions(s)[source]
	if !has {
		return "", ""
	}
	decision, err := rules.Decide(ctx, user)
	reason := decision.Reason()
	if err != nil {
		reason += ": " + err.Error()
	}
	return api.SignUp(decision, err, s.WhenUnavailable(source) == "refuse"), reason
}

// checkConditions lets PostgreSQL judge the conditions of a configuration, but for those that another has as well.
func (sv *service) checkConditions(ctx context.Context, s, before *Setup) ([]target.Finding, error) {
	var found []target.Finding
	had := map[string]string{}
	if before != nil {
		for name, c := range before.Conditions(sv.db) {
			had[name] = c.SQL
		}
	}
	for name, c := range s.Conditions(sv.db) {
		if had[name] == c.SQL {
			continue
		}
		more, err := c.Check(ctx)
		if err != nil {
			return nil, err
		}
		found = append(found, more...)
	}
	return found, nil
}

// sayConditions logs the conditions that can't be asked.
func (sv *service) sayConditions(ctx context.Context) {
	found, err := sv.checkConditions(ctx, sv.setup(), nil)
	if err != nil {
		sv.log.Warn("the conditions about sign-ups can't be checked", "error", err)
	}
	sv.findings.Said(found...)
	for _, f := range found {
		sv.log.Error("a condition about sign-ups can't be asked; when_unavailable decides",
			"condition", f.Target, "at", f.At, "code", f.Code, "error", f.What)
	}
}

// unfitConditions is the error of a reload; nil when the conditions can be asked.
func unfitConditions(found []target.Finding) error {
	if len(found) == 0 {
		return nil
	}
	var unfit config.Problems
	for _, f := range found {
		unfit.Add(config.ParsePos(f.At), "%s: %s", f.Target, f.What)
	}
	return fmt.Errorf("a condition about sign-ups can't be asked:\n%w", unfit)
}
