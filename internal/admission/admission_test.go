package admission

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// Which domain gets the mail of an address, if that is clear: an address of another form is read by some programs as
// one of another domain.
func TestDomainOf(t *testing.T) {
	t.Parallel()
	for address, want := range map[string]string{
		"ada@example.com":                          "example.com",
		"ada+list@Example.COM":                     "example.com",
		"ada@example.com.":                         "example.com",
		"ada@bücher.example":                       "xn--bcher-kva.example",
		"ada@BÜCHER.example":                       "xn--bcher-kva.example",
		"ada@xn--bcher-kva.example":                "xn--bcher-kva.example",
		"ada@XN--BCHER-KVA.example":                "xn--bcher-kva.example",
		"ada@ｅｘａｍｐｌｅ．ｃｏｍ":                          "example.com",
		"ada@example。com。":                         "example.com",
		"ada@ex\u00adample.com":                    "example.com", // a soft hyphen
		"ådå@example.com":                          "example.com",
		`"ada@evil.example"@example.com`:           "example.com",
		`"a\"@evil.example, b"@example.com`:        "example.com",
		"evil.example!ada@example.com":             "example.com",
		"ada%evil.example@example.com":             "example.com",
		"":                                         "",
		"@example.com":                             "",
		"ada":                                      "",
		"ada@":                                     "",
		"ada@.":                                    "",
		"ada@example.com..":                        "",
		"ada@.example.com":                         "",
		"ada@example..com":                         "",
		"ada@*.example.com":                        "",
		"ada@evil.example@example.com":             "",
		"ada@example.com, eve@evil.example":        "",
		"ada@evil.example,@example.com":            "",
		"Ada <ada@evil.example>":                   "",
		"<ada@evil.example>@example.com":           "",
		"ada@example.com>":                         "",
		"ada @example.com":                         "",
		"ada@ example.com":                         "",
		"ada@example.com ":                         "",
		" ada@example.com":                         "",
		"ada@evil.example\n@example.com":           "",
		"ada@example.com\nbcc: eve@evil.example":   "",
		"ada@example.com\x00.evil.example":         "",
		"ada@example.com\ufffd":                    "",
		"ada(@evil.example)@example.com":           "",
		"ada@example.com(comment)":                 "",
		"ada@[127.0.0.1]":                          "",
		`"ada"eve@example.com`:                     "",
		`"ada@example.com`:                         "",
		`"ada\"@example.com`:                       "",
		`"@example.com`:                            "",
		`ada"@example.com`:                         "",
		"ada@exa_mple.com":                         "",
		"ada@-example.com":                         "",
		"ada@xn--a.example":                        "",
		"ada@" + strings.Repeat("a.", 130) + "com": "",
		strings.Repeat("a", 2000) + "@example.com": "",
	} {
		if got, ok := domainOf(address); got != want && ok || ok != (want != "") {
			t.Errorf("%q: got %q, %v, want %q", address, got, ok, want)
		}
	}
}

func TestLists(t *testing.T) {
	t.Parallel()
	const refused, admitted = "refused by ", "admitted by "
	tests := []struct {
		name   string
		config Config
		want   map[string]string // by address, how the reason begins
	}{
		{"deny", Config{Deny: []string{"evil.example", "*.host.example", "BÜCHER.example."}}, map[string]string{
			"a@evil.example": refused + "deny_domains", "a@EVIL.example.": refused + "deny_domains",
			"a@mail.evil.example": refused + "deny_domains", "a@notevil.example": admitted + "deny_domains",
			"a@evil.example.com": admitted + "deny_domains", "a@host.example": admitted + "deny_domains",
			"a@x.y.host.example": refused + "deny_domains", "a@xn--bcher-kva.example": refused + "deny_domains",
			"": admitted + "deny_domains", "a@b@ok.example": refused + "deny_domains: it is not clear",
			`"a@ok.example"@evil.example`: refused + "deny_domains", `"a@evil.example"@ok.example`: admitted + "deny_domains",
		}},
		{"allow", Config{Allow: []string{"example.com", ".school.example"}}, map[string]string{
			"a@example.com": admitted + "allow_domains", "a@mail.example.com": refused + "allow_domains",
			"a@school.example": refused + "allow_domains", "a@cs.school.example": admitted + "allow_domains",
			"a@evilexample.com": refused + "allow_domains", "a@example.com.evil.example": refused + "allow_domains",
			"": refused + "allow_domains: the user has no e-mail address", "a@example.com@evil.example": refused + "allow_domains: it is not clear",
		}},
		{"deny before allow", Config{Allow: []string{"example.com", "*.example.com"}, Deny: []string{"spam.example.com"}, DenyFile: []string{"junk.example.com"}}, map[string]string{
			"a@example.com": admitted + "allow_domains", "a@spam.example.com": refused + "deny_domains:",
			"a@x.spam.example.com": refused + "deny_domains:", "a@junk.example.com": refused + "deny_domains_file:",
			"a@x.example.com": admitted + "allow_domains", "a@other.example": refused + "allow_domains",
		}},
	}
	for _, tt := range tests {
		rules := New(tt.config)
		for address, want := range tt.want {
			if got := rules.byLists(address).Reason(); !strings.HasPrefix(got, want) {
				t.Errorf("%s, %q: got %q, want %q", tt.name, address, got, want)
			}
		}
	}
}

// The answer holds the message whole, whatever is in it.
func TestReply(t *testing.T) {
	t.Parallel()
	got := string(New(Config{Message: `Not "here"` + "\n"}).Reply())
	if want := `{"error":{"http_code":403,"message":"Not \"here\"\n"}}`; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestReadFile(t *testing.T) {
	t.Parallel()
	domains, mistakes := ReadFile([]byte("\ufeff# disposable\r\nmailinator.com\r\n\n  .Example.COM # all below\nnot a domain\n\ta@b.example\nb\xff.example\nlast.example"))
	if diff := cmp.Diff([]string{"mailinator.com", ".Example.COM", "last.example"}, domains); diff != "" {
		t.Error(diff)
	}
	want := []Mistake{
		{5, 1, errPattern.Error()}, {6, 2, errPattern.Error()}, {7, 1, "is no UTF-8; save the file as UTF-8"},
	}
	if diff := cmp.Diff(want, mistakes); diff != "" {
		t.Error(diff)
	}
}

func TestBoth(t *testing.T) {
	t.Parallel()
	got := Both([]string{"example.com", "mail.evil.example", "*.Host.example", "ok.example", "host.example"}, []string{"EXAMPLE.com.", "evil.example", ".host.example"})
	if want := []string{"example.com", "mail.evil.example", "*.Host.example"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

// Whatever the address: the compared form is one, is of the characters of a host name, and neither the letter case
// nor the dot of the root makes another of it; and a list that has the domain refuses it, and all below it.
func FuzzDomainOf(f *testing.F) {
	for _, seed := range []string{
		"ada@example.com", `"a@b"@Bücher.example.`, "ada@ｅxample。com", "a@xn--bcher-kva.example", "a@b@c", "a@faß.example", "Ada <a@b.example>", "a@\u200dx.example", "a@א1.example",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, address string) {
		domain, ok := domainOf(address)
		if !ok {
			return
		}
		if domain == "" || strings.Trim(domain, "abcdefghijklmnopqrstuvwxyz0123456789-.") != "" || strings.HasSuffix(domain, ".") || strings.HasPrefix(domain, ".") {
			t.Fatalf("%q: %q is no host name", address, domain)
		}
		for _, same := range []string{domain, strings.ToUpper(domain), domain + "."} {
			if again, ok := domainOf("a@" + same); !ok || again != domain {
				t.Fatalf("%q: %q becomes %q, %v, and %q", address, same, again, ok, domain)
			}
		}
		for _, listed := range []string{domain, "*." + domain} {
			rules, below := New(Config{Deny: []string{listed}}), "sub."+domain
			if rules.byLists(address).Verdict != Refused && listed == domain {
				t.Fatalf("%q is not refused by %q", address, listed)
			}
			if _, ok := domainOf("a@" + below); ok && rules.byLists("a@"+below).Verdict != Refused {
				t.Fatalf("a@%s is not refused by %q", below, listed)
			}
		}
		if New(Config{Allow: []string{domain}}).byLists(address).Verdict != Admitted {
			t.Fatalf("%q is not admitted by %q", address, domain)
		}
	})
}

// A long list costs an address no more than a short one.
func BenchmarkLists(b *testing.B) {
	var items []string
	for n := range 5500 {
		items = append(items, fmt.Sprintf("host%d.example", n))
	}
	rules := New(Config{DenyFile: items})
	for b.Loop() {
		rules.byLists("ada@mail.host5499.example")
	}
}
