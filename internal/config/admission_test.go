package config

import (
	"fmt"
	"io/fs"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"rollcall/internal/must"
	"rollcall/internal/target"
)

const supabaseSource = "database: a=b\nsources:\n  s:\n    provider: supabase\n"

// withFiles is an environment with some files.
func withFiles(files map[string]string) Env {
	return Env{ReadFile: func(path string) ([]byte, error) {
		if body, ok := files[path]; ok {
			return []byte(body), nil
		}
		return nil, &fs.PathError{Op: "open", Path: path, Err: fs.ErrNotExist}
	}}
}

func TestLoadAdmission(t *testing.T) {
	t.Parallel()
	file := supabaseSource + `    admission:
      allow_domains: [Example.com, "*.school.example"]
      deny_domains: [bücher.example]
      deny_domains_file: lists/denied.txt
      require: "exists (select from invites i where i.email = new.email)"
      message: Ask for an invitation.
`
	var list strings.Builder
	for n := range 5500 {
		fmt.Fprintf(&list, "host%d.example\n", n)
	}
	cfg, problems := Load("/etc/r.yaml", []byte(file), withFiles(map[string]string{"/etc/lists/denied.txt": "# all\n" + list.String()}))
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	got := *cfg.Sources[0].Admission
	must.Equal(t, len(got.DeniedByFile), 5500, "domains of the file")
	must.Equal(t, got.DeniedByFile[5499], "host5499.example", "the last")
	got.DeniedByFile = nil
	want := Admission{
		AllowDomains: []string{"Example.com", "*.school.example"}, DenyDomains: []string{"bücher.example"},
		DenyDomainsFile: "lists/denied.txt", Message: "Ask for an invitation.",
		Require: &target.Expr{
			SQL: "exists (select from invites i where i.email = new.email)", Written: "exists (select from invites i where i.email = new.email)", At: "/etc/r.yaml:9:16",
		},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestAdmissionMistakes(t *testing.T) {
	t.Parallel()
	files := map[string]string{
		"empty.txt": "# none\n\n", "bad.txt": "a.example\nb example # two\n  ada@c.example\n",
		"binary": strings.Repeat("\x00\n", 100),
	}
	const none = "r.yaml:5:5: sources.s.admission has no rule; add allow_domains, deny_domains, deny_domains_file or require, or leave it out"
	tests := []struct {
		admission string
		want      []string
	}{
		{"{}", []string{none}},
		{"{message: No.}", []string{none}},
		{"{allow_domains: []}", []string{"r.yaml:5:32: sources.s.admission.allow_domains is empty; add an item, or leave it out"}},
		{"{deny_domains: []}", []string{"r.yaml:5:31: sources.s.admission.deny_domains is empty; add an item, or leave it out"}},
		{"{allow_domains: [ada@a.example, b.example]}", []string{
			`r.yaml:5:33: sources.s.admission.allow_domains: "ada@a.example" is no domain; write one such as example.com, or *.example.com for all below it`}},
		{"{deny_domains: a.example}", []string{"r.yaml:5:31: sources.s.admission.deny_domains is text; write a list such as [a, b]"}},
		{"{deny_domain: [a.example]}", []string{
			"r.yaml:5:17: sources.s.admission.deny_domain is no field of the configuration; did you mean deny_domains? " +
				"known here: allow_domains, deny_domains, deny_domains_file, require, message"}},
		{"{deny_domains_file: missing.txt}", []string{
			"r.yaml:5:36: sources.s.admission.deny_domains_file: the file can't be read: file does not exist; a path without / at its start is beside the configuration"}},
		{"{deny_domains_file: empty.txt}", []string{
			"r.yaml:5:36: sources.s.admission.deny_domains_file: the file has no domain; write one a line, or leave the field out"}},
		{"{deny_domains_file: bad.txt}", []string{
			"bad.txt:2:1: this line is no domain; write one such as example.com, or *.example.com for all below it",
			"bad.txt:3:3: this line is no domain; write one such as example.com, or *.example.com for all below it"}},
		{"{require: \"exists (select\"}", []string{"r.yaml:5:26: sources.s.admission.require: ( is never closed in this expression; add its partner, or take it out"}},
		{"{deny_domains: [a.example], message: \"\"}", []string{"r.yaml:5:53: sources.s.admission.message: \"\" is empty; give it a value, or leave it out"}},
		{"{deny_domains: [a.example], message: \"" + strings.Repeat("é", 1001) + "\"}", []string{"r.yaml:5:53: sources.s.admission.message: the value is longer than 1000 characters"}},
		{"{require: null}", []string{"r.yaml:5:26: sources.s.admission.require has no value, which would refuse all users; write a condition, or leave it out"}},
		{"{require: }", []string{"r.yaml:5:17: sources.s.admission.require has no value, which would refuse all users; write a condition, or leave it out"}},
	}
	for _, tt := range tests {
		_, problems := Load("r.yaml", []byte(supabaseSource+"    admission: "+tt.admission+"\n"), withFiles(files))
		must.Equal(t, strings.Split(problems.Error(), "\n"), tt.want, tt.admission)
	}
	_, problems := Load("r.yaml", []byte(supabaseSource+"    admission: {deny_domains_file: binary}\n"), withFiles(files))
	must.Equal(t, len(problems), mostMistakes+1, "problems of a file of another kind")
	_, problems = Load("r.yaml", []byte("database: a=b\nsources: {c: {provider: clerk, admission: {require: true}}}\n"), withFiles(nil))
	must.Equal(t, problems.Error(), "r.yaml:2:32: sources.c.admission belongs to sources of supabase only; leave it out", "a source of clerk")
}
