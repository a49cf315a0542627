// Package admission decides by rules whether a user may sign up. It hides how the domain of an e-mail address is
// found and compared, how a file of domains is read, and in which order the rules are asked. It asks no database:
// whoever asks the rule that needs one hands the answer over.
//
//	rules := admission.New(admission.Config{Deny: []string{"mailinator.com"}})
//	d, err := rules.Decide(user.Email, met) // refused by deny_domains
package admission

import (
	"encoding/json"
)

// Rule is what has decided; a closed set, used as a label.
type Rule string

// The rules, in the order in which they are asked. The last one that was asked admits.
const (
	DenyDomains     Rule = "deny_domains"
	DenyDomainsFile Rule = "deny_domains_file"
	AllowDomains    Rule = "allow_domains"
	Require         Rule = "require"
)

// Verdict is what a rule has decided; a closed set, used as a label.
type Verdict string

// The verdicts. Unavailable means that the database could not be asked, so that when_unavailable decides.
const (
	Admitted    Verdict = "admitted"
	Refused     Verdict = "refused"
	Unavailable Verdict = "unavailable"
)

// Decision is what the rules have decided.
type Decision struct {
	Rule    Rule
	Verdict Verdict
	// Why is for the operator. It holds nothing of the user.
	Why string
}

// Reason is the decision in one sentence.
func (d Decision) Reason() string {
	if d.Verdict == Unavailable {
		return string(d.Rule) + ": " + d.Why
	}
	return string(d.Verdict) + " by " + string(d.Rule) + ": " + d.Why
}

// Config describes the rules of a source. A list that is nil is no rule.
type Config struct {
	Allow, Deny, DenyFile []string
	// Require is whether a condition in SQL is asked last.
	Require bool
	// Message is for who signs up.
	Message string
}

// Rules are those of one source.
type Rules struct {
	lists   []list
	require bool
	reply   []byte
}

// list is a rule that looks at the domain alone.
type list struct {
	rule   Rule
	set    *set
	denies bool
}

// New returns the rules of a source.
func New(cfg Config) *Rules {
	r := &Rules{require: cfg.Require, reply: reply(cfg.Message)}
	for _, l := range []struct {
		rule   Rule
		items  []string
		denies bool
	}{{DenyDomains, cfg.Deny, true}, {DenyDomainsFile, cfg.DenyFile, true}, {AllowDomains, cfg.Allow, false}} {
		if len(l.items) > 0 {
			r.lists = append(r.lists, list{l.rule, setOf(l.items, l.denies), l.denies})
		}
	}
	return r
}

// reply is the answer to which Supabase's auth server listens since v2.187: 200 with this object.
func reply(message string) []byte {
	var refusal struct {
		Error struct {
			Code    int    `json:"http_code"`
			Message string `json:"message"`
		} `json:"error"`
	}
	refusal.Error.Code, refusal.Error.Message = 403, message
	text, err := json.Marshal(refusal)
	if err != nil {
		panic(err) // a number and a text
	}
	return text
}

// Reply is the body of the answer that refuses.
func (r *Rules) Reply() []byte { return r.reply }

// Asked are the rules that there are, in order.
func (r *Rules) Asked() []Rule {
	var rules []Rule
	for _, l := range r.lists {
		rules = append(rules, l.rule)
	}
	if r.require {
		rules = append(rules, Require)
	}
	return rules
}

// byLists decides by the lists alone. An address of which it can't be said which domain gets its mail is refused by
// the first of them.
func (r *Rules) byLists(address string) Decision {
	domain, readable := domainOf(address)
	last := Decision{Verdict: Admitted, Why: "no list refuses it"}
	for _, l := range r.lists {
		last.Rule, last.Why = l.rule, l.why()
		if refused := l.refuses(address, domain, readable); refused != "" {
			return Decision{l.rule, Refused, refused}
		}
	}
	return last
}

// Decide asks the rules in their order about a user with an e-mail address, nil for none. Met answers the condition,
// where there is one and the lists leave it to that. Its error is returned beside a verdict that is Unavailable.
func (r *Rules) Decide(address *string, met func() (bool, error)) (Decision, error) {
	if address == nil {
		address = new(string)
	}
	decision := r.byLists(*address)
	if decision.Verdict != Admitted || !r.require {
		return decision, nil
	}
	is, err := met()
	switch {
	case err != nil:
		return Decision{Require, Unavailable, "the condition could not be asked; when_unavailable decides"}, err
	case is:
		return Decision{Require, Admitted, "the condition is met"}, nil
	}
	return Decision{Require, Refused, "the condition is not met"}, nil
}

// why is the reason for which a list admits.
func (l *list) why() string {
	if l.denies {
		return "the domain is not on the list"
	}
	return "the domain is on the list"
}

// refuses says why a list refuses an address, or "".
func (l *list) refuses(address, domain string, readable bool) string {
	switch {
	case address == "" && l.denies:
		return ""
	case address == "":
		return "the user has no e-mail address"
	case !readable:
		return "it is not clear which domain the e-mail address has"
	case l.denies && l.set.has(domain):
		return "the domain is on the list"
	case !l.denies && !l.set.has(domain):
		return "the domain is not on the list"
	}
	return ""
}

// Both are the domains that are on a list that allows and on one that denies, as the former has them: what denies
// counts.
func Both(allow, deny []string) []string {
	denied := setOf(deny, true)
	var both []string
	for _, text := range allow {
		p, err := parsePattern(text)
		if err == nil && (denied.has(p.domain) || p.below && denied.below[p.domain]) {
			both = append(both, text)
		}
	}
	return both
}
