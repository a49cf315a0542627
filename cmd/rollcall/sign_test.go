package main

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"os/exec"
	"regexp"
	"strings"
	"testing"
	"time"
	"unicode"

	svix "github.com/svix/svix-webhooks/go"

	"rollcall/internal/cli"
	"rollcall/internal/must"
	"rollcall/internal/source"
	"rollcall/internal/testevent"
)

// delivery is a request as a receiver saw it.
type delivery struct {
	path   string
	header http.Header
	body   []byte
}

// receiver takes one request at a time.
func receiver(t *testing.T) (base string, received <-chan delivery) {
	t.Helper()
	all := make(chan delivery, 1)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		w.Header().Set("Rollcall-Outcome", "applied")
		all <- delivery{r.URL.Path, r.Header, body}
	}))
	t.Cleanup(server.Close)
	return server.URL, all
}

// shells are those of this machine; every one has sh.
func shells(t *testing.T) []string {
	t.Helper()
	if _, err := exec.LookPath("curl"); err != nil {
		t.Fatal("this test runs curl, which is not installed: apt-get install curl, apk add curl or brew install curl")
	}
	found := []string{"sh"}
	for _, name := range []string{"bash", "dash", "zsh", "ksh", "mksh", "yash", "ash"} {
		if _, err := exec.LookPath(name); err == nil {
			found = append(found, name)
		}
	}
	return found
}

// paste runs a text as if it were typed into a shell.
func paste(t *testing.T, shell, text string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, shell)
	cmd.Stdin = strings.NewReader(text)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v\n%s\n%.2000s", shell, err, out, text)
	}
	return string(out)
}

// What sign prints arrives byte for byte, whatever the shell and whatever is in the body.
func TestSignedCurlInEveryShell(t *testing.T) {
	t.Parallel()
	bodies := map[string]string{
		"json":        `{"name":"O'Neill","dollar":"$HOME ${HOME} $(id)","tick":"` + "`id`" + `","escape":"\\ \" \n","bang":"!! !$","é":"日本 🎉","glob":"* ? [a] {a,b} ~"}`,
		"quotes":      strings.Repeat("'", 4000),
		"lines":       "a\nb\n\n  c\\\n'd'\n",
		"empty":       "",
		"file":        "@/etc/hostname",
		"option":      "-v %s %% \\n \x01",
		"tab":         "a\tb\rc",
		"binary":      allBytes(),
		"cut UTF-8":   "caf\xc3",
		"long":        `{"a":"` + strings.Repeat("é'x", 20_000) + `"}`,
		"huge":        strings.Repeat("0123456789", 30_000),
		"delete, C1":  "\u007f\u0085\u009b31m",
		"line breaks": "\u2028\u2029",
	}
	base, received := receiver(t)
	src := newSource(t, source.Supabase)
	for _, shell := range shells(t) {
		for name, body := range bodies {
			for _, endpoint := range []source.Endpoint{source.Hook, source.Database} {
				p := must.Get(testevent.Seal(src, endpoint, []byte(body)))(t)
				text := p.Curl(base)
				checkLines(t, name, text)
				if out := paste(t, shell, text); !strings.HasPrefix(out, "HTTP/1.1 200") {
					t.Errorf("%s, %s: %.300s", shell, name, out)
				}
				got := <-received
				if !bytes.Equal(got.body, p.Body) {
					t.Errorf("%s, %s: got %d bytes %.80q, want %d %.80q", shell, name, len(got.body), got.body, len(body), body)
				}
				if err := src.Verify(source.Request{Endpoint: endpoint, Header: got.header, Body: got.body}); err != nil {
					t.Errorf("%s, %s: %v", shell, name, err)
				}
			}
		}
	}
}

// What a shell of another kind would do with a body, pasted into it, is not for the body to say:
// fish has escapes within single quotes, csh acts on ! there and ends them with the line.
func TestSignedCurlIsNoCommandElsewhere(t *testing.T) {
	t.Parallel()
	src := newSource(t, source.Supabase)
	for _, body := range []string{`{"name":"\'; touch x #"}`, `\`, `'\'; touch x #`, "a\n'b'\n; touch x", "!!", "!'\\'!", strings.Repeat(`\'!`, 20_000)} {
		p := must.Get(testevent.Seal(src, source.Hook, []byte(body)))(t)
		text := p.Curl("http://x.test")
		alike := regexp.MustCompile(`'\\''|\\[0-7]{3}|\\\n`).ReplaceAllString(text, "")
		if strings.ContainsAny(alike, `\!`) {
			t.Errorf("%.40q: %.300s", body, text)
		}
		for line := range strings.Lines(alike) {
			if strings.Count(line, "'")%2 != 0 {
				t.Errorf("%.40q: a quote is open at the end of %.300s", body, line)
			}
		}
	}
}

func allBytes() string {
	var all []byte
	for b := range 256 {
		all = append(all, byte(b), '7') // a digit may not be taken for part of an escape
	}
	return string(all)
}

// checkLines holds a command against what a terminal takes as one line, and as text.
func checkLines(t *testing.T, name, text string) {
	t.Helper()
	for line := range strings.Lines(text) {
		if len(line) > 1000 {
			t.Errorf("%s: a line of %d bytes", name, len(line))
		}
		if at := strings.IndexFunc(strings.TrimSuffix(line, "\n"), unicode.IsControl); at >= 0 {
			t.Errorf("%s: a terminal acts on %q", name, line[at:at+1])
		}
	}
}

// The library of Clerk's own sender verifies what sign prints, and finds a change.
func TestSvixVerifiesWhatSignPrints(t *testing.T) {
	t.Parallel()
	shells(t)
	base, received := receiver(t)
	c := newCLI(t, twoSources, nowhere)
	verifier := must.Get(svix.NewWebhook(clerkSecret))(t)
	for _, name := range testevent.Names(source.Clerk) {
		command := c.run(t.Context(), "sign", "clerk", name, "--url", base, "--set", "data.first_name=D'Arcy $é\\")
		if command.code != cli.ExitFine {
			t.Fatalf("%s: %s", name, command)
		}
		paste(t, "sh", command.out)
		got := <-received
		if got.path != "/webhooks/clerk" || !strings.Contains(string(got.body), `"first_name":"D'Arcy $é\\"`) {
			t.Errorf("%s: %s got %s", name, got.path, got.body)
		}
		if err := verifier.Verify(got.body, got.header); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if err := verifier.Verify(append(got.body, ' '), got.header); err == nil {
			t.Errorf("%s: a changed body passes", name)
		}
	}
}

// A request that is sent twice is a provider's retry.
func TestRequestTwice(t *testing.T) {
	t.Parallel()
	in := startShop(t)
	src := newSource(t, source.Clerk)
	p := must.Get(testevent.Seal(src, source.Hook, []byte(clerkUser("user.created", "user_a", ann))))(t)
	for _, want := range []string{"applied", "duplicate"} {
		if a, err := testevent.NewSender(in.public).Post(t.Context(), p); err != nil || a.Outcome != want {
			t.Errorf("got %s, %v, want %s", a.Outcome, err, want)
		}
	}
}
