package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/url"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"rollcall/internal/app"
	"rollcall/internal/source"
)

// draftFlags are those that send and sign share.
type draftFlags struct {
	set []string
	url string
}

func (f *draftFlags) bind(cmd *cobra.Command) {
	cmd.Flags().StringArrayVar(&f.set, "set", nil, "change the body, `path=value`; may be repeated")
	cmd.Flags().StringVar(&f.url, "url", "", "base `URL` of the receiver (default this machine, at the port of listen)")
}

// sourceAndEvent is the check of the arguments SOURCE EVENT|FILE.
func sourceAndEvent(cmd *cobra.Command, args []string) error {
	if len(args) != 2 {
		return errUsage{fmt.Errorf("%s wants two arguments, SOURCE and EVENT or FILE, such as: rollcall %[1]s clerk user.created", cmd.Name())}
	}
	return nil
}

// draft is a body to be signed as the command line describes it.
type draft struct {
	source *source.Source
	door   source.Door
	sample *source.Sample // nil for a file
	file   []byte
	set    []assignment
	base   string // where it goes
	setup  *app.Setup
}

// assignment is one --set.
type assignment struct {
	path  string
	value []byte
}

// newDraft finds what SOURCE and EVENT or FILE mean.
func newDraft(cmd *cobra.Command, w world, f draftFlags) (*draft, error) {
	set, err := parseAssignments(f.set)
	if err != nil {
		return nil, errUsage{err}
	}
	if err := checkURL(f.url); err != nil {
		return nil, errUsage{err}
	}
	s, err := load(cmd, w)
	if err != nil {
		return nil, err
	}
	d := &draft{set: set, setup: s}
	if d.source, err = s.Source(cmd.Flags().Arg(0)); err != nil {
		return nil, err
	}
	if err := d.read(cmd.Flags().Arg(1), w.stdin); err != nil {
		return nil, err
	}
	if !d.source.Open(d.door) {
		return nil, closed(s, d.source, d.door)
	}
	d.base, err = baseURL(f.url, s.Config.Listen)
	return d, err
}

// closed says which secret a door misses.
func closed(s *app.Setup, src *source.Source, door source.Door) error {
	missing, example := "signing_secrets", `["${`+strings.ToUpper(src.Provider())+`_SECRET}"]`
	if door == source.Database {
		missing, example = "database_webhook", `{secrets: ["${DATABASE_WEBHOOK_SECRET}"]}`
	}
	return fmt.Errorf("%s: the %s door of source %s is closed, for it has no secret; give it one, such as\n    %s: %s",
		s.Config.At("sources."+src.Name()), door, src.Name(), missing, example)
}

// read takes EVENT or FILE. The name of a built-in event is never a file: ./NAME is.
func (d *draft) read(name string, stdin io.Reader) error {
	if sample, found := d.source.Sample(name); found {
		d.sample, d.door = &sample, sample.Door
		return nil
	}
	text, err := readFile(name, stdin)
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%q is neither a built-in event of %s nor a file; the built-in events are %s",
			name, d.source.Provider(), strings.Join(source.SampleNames(d.source.Provider()), ", "))
	}
	if err != nil {
		return fmt.Errorf("read the event: %w", err)
	}
	d.file, err = bodyOf(text)
	d.door = d.source.DoorFor(d.file)
	return err
}

func readFile(name string, stdin io.Reader) ([]byte, error) {
	if name == "-" {
		return io.ReadAll(stdin)
	}
	return os.ReadFile(name)
}

// bodyOf takes the body out of a capture, {"headers":{…},"body":"…"}; every other text is
// a body itself.
func bodyOf(text []byte) ([]byte, error) {
	var capture struct {
		Headers json.RawMessage `json:"headers"`
		Body    json.RawMessage `json:"body"`
	}
	_ = json.Unmarshal(text, &capture) // a text that isn't one leaves it empty
	if capture.Headers == nil || capture.Body == nil {
		return text, nil
	}
	var body string
	if err := json.Unmarshal(capture.Body, &body); err != nil {
		return nil, errors.New("the body of a capture must be a text, the received bytes and no JSON made of them")
	}
	return []byte(body), nil
}

func parseAssignments(words []string) ([]assignment, error) {
	var all []assignment
	for _, word := range words {
		path, value, ok := strings.Cut(word, "=")
		if !ok || path == "" {
			return nil, fmt.Errorf("--set %s: write path=value, such as data.first_name=Zoé", word)
		}
		all = append(all, assignment{path, source.Value(value)})
	}
	return all, nil
}

// body makes the body about the n-th of many users. What --set says comes last, so it
// stands in all of them. A body from a file that was sent before, or is changed, is news.
func (d *draft) body(user int, again bool) ([]byte, error) {
	body := d.file
	if d.sample != nil {
		body = d.sample.Body(time.Now())
	} else if again || len(d.set) > 0 {
		body = d.source.Renewed(d.door, body)
	}
	body = d.source.Another(d.door, body, user)
	for _, a := range d.set {
		var err error
		if body, err = source.Set(body, a.path, a.value); err != nil {
			return nil, err
		}
	}
	return body, nil
}

// aboutOne reports whether --set gives every body the same user id. Then they are about
// one user in everything else, too.
func (d *draft) aboutOne() (bool, error) {
	var ids [2]string
	for i := range ids {
		body, err := d.body(i+1, false)
		if err != nil {
			return false, err
		}
		ids[i] = d.userID(body)
	}
	return ids[0] == ids[1], nil
}

func (d *draft) userID(body []byte) string {
	return d.source.Decode(source.Request{Door: d.door, Body: body}).UserID
}

// checkURL judges --url; empty is the default.
func checkURL(base string) error {
	if base == "" {
		return nil
	}
	u, err := url.Parse(base)
	switch {
	case err != nil:
		return fmt.Errorf("--url: %w", errors.Unwrap(err)) // without the URL, which may hold a password
	case !slices.Contains([]string{"http", "https"}, u.Scheme) || u.Host == "":
		return fmt.Errorf("--url %s: write a base URL such as http://127.0.0.1:8080", u.Redacted())
	case u.RawQuery != "" || u.Fragment != "" || strings.Contains(u.Path, "/webhooks/"):
		return fmt.Errorf("--url %s: write the base URL only, %s://%s; the path of the webhook is added", u.Redacted(), u.Scheme, u.Host)
	}
	return nil
}

// baseURL is where requests go: to --url, else to this machine. Another host has to be
// named, for requests are signed with secrets that count there.
func baseURL(flag, listen string) (string, error) {
	if flag != "" {
		return strings.TrimRight(flag, "/"), nil
	}
	host, port, err := net.SplitHostPort(listen)
	if err != nil {
		return "", fmt.Errorf("listen %s: %w", listen, err)
	}
	if port == "0" {
		return "", fmt.Errorf("listen is %s, any free port: say with --url where serve listens; its log says so in the line \"listening\"", listen)
	}
	if ip := net.ParseIP(host); ip == nil || !ip.IsLoopback() {
		host = "127.0.0.1"
	}
	return "http://" + net.JoinHostPort(host, port), nil
}
