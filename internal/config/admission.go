package config

import (
	"errors"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
	"unicode/utf8"

	"rollcall/internal/admission"
)

// admission checks the rules about who may sign up, and reads the file of domains.
func (d *decoder) admission(s *Source, path string) {
	a := s.Admission
	if a == nil {
		return
	}
	file := join(path, "deny_domains_file")
	rules := []string{"allow_domains", "deny_domains", "deny_domains_file", "require"}
	given := func(rule string) bool { return d.given(join(path, rule)) }
	if !slices.ContainsFunc(rules, given) && !d.bad(path) {
		d.problems.AddAs(CodeField, d.places[path], "%s has no rule; add %s or %s, or leave it out",
			path, strings.Join(rules[:3], ", "), rules[3])
	}
	if condition := join(path, "require"); a.Require != nil && a.Require.SQL == "null" {
		d.problems.AddAs(CodeField, d.values[condition],
			"%s has no value, which would refuse all users; write a condition, or leave it out", condition)
	}
	if message := join(path, "message"); utf8.RuneCountInString(a.Message) > maxMessage {
		d.problems.Add(d.values[message], "%s: the value is longer than %d characters", message, maxMessage)
	}
	if a.DenyDomainsFile != "" {
		a.DeniedByFile = d.domains(a.DenyDomainsFile, file)
	}
}

// maxMessage is the longest message, in characters. The auth server takes no answer over 200 KiB for a refusal.
const maxMessage = 1000

// bad reports whether something of a path is complained of already.
func (d *decoder) bad(path string) bool {
	return slices.ContainsFunc(d.problems, func(p Problem) bool { return strings.HasPrefix(p.What, path) })
}

// mostMistakes is how many lines of one file are complained of: a file of another kind has thousands.
const mostMistakes = 20

// domains reads a file of domains; the field at a path names it.
func (d *decoder) domains(name, path string) []string {
	at := name
	if !filepath.IsAbs(at) {
		at = filepath.Join(filepath.Dir(d.file), at)
	}
	data, err := d.env.ReadFile(at)
	if err != nil {
		why := err.Error()
		var failed *fs.PathError
		if errors.As(err, &failed) {
			why = failed.Err.Error()
		}
		d.problems.Add(d.values[path],
			"%s: the file can't be read: %s; a path without / at its start is beside the configuration", path, why)
		return nil
	}
	domains, mistakes := admission.ReadFile(data)
	for i, m := range mistakes {
		if i == mostMistakes {
			d.problems.Add(Pos{at, m.Line, m.Column}, "and %d more lines are no domains", len(mistakes)-i)
			break
		}
		d.problems.Add(Pos{at, m.Line, m.Column}, "this line %s", m.What)
	}
	if len(domains)+len(mistakes) == 0 {
		d.problems.Add(d.values[path], "%s: the file has no domain; write one a line, or leave the field out", path)
	}
	return domains
}
