package sample

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/url"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"rollcall/internal/app"
	"rollcall/internal/cli"
	"rollcall/internal/source"
	"rollcall/internal/target"
	"rollcall/internal/testevent"
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
		return cli.Usagef("%s wants two arguments, SOURCE and EVENT or FILE, such as: rollcall %[1]s clerk user.created", cmd.Name())
	}
	return nil
}

// draft is what the command line describes: bodies to be signed, and where they go.
type draft struct {
	*testevent.Draft
	base  string
	setup *app.Setup
}

// newDraft finds what SOURCE and EVENT or FILE mean.
func newDraft(cmd *cobra.Command, env cli.Env, f draftFlags) (*draft, error) {
	var changes []testevent.Change
	for _, word := range f.set {
		c, err := testevent.ParseChange(word)
		if err != nil {
			return nil, cli.Usagef("%w", err)
		}
		changes = append(changes, c)
	}
	if err := checkURL(f.url); err != nil {
		return nil, cli.Usagef("%w", err)
	}
	s, err := env.Load(cmd)
	if err != nil {
		return nil, err
	}
	src, err := s.Source(cmd.Flags().Arg(0))
	if err != nil {
		return nil, err
	}
	d := &draft{setup: s}
	if d.Draft, err = readDraft(src, cmd.Flags().Arg(1), env.Stdin, changes); err != nil {
		return nil, err
	}
	if !src.Open(d.Endpoint) {
		return nil, closed(s, src, d.Endpoint)
	}
	d.base, err = baseURL(f.url, s.Config.Listen)
	return d, err
}

// readDraft takes EVENT or FILE. The name of a built-in event is never a file: ./NAME is.
func readDraft(src *source.Source, name string, stdin io.Reader, changes []testevent.Change) (*testevent.Draft, error) {
	if sample, found := testevent.Find(src, name); found {
		return testevent.NewDraft(src, sample, changes), nil
	}
	text, err := readFile(name, stdin)
	if errors.Is(err, fs.ErrNotExist) {
		known := testevent.Names(src.Provider())
		return nil, fmt.Errorf("%q is neither a built-in event of %s nor a file; the built-in events are %s%s",
			name, src.Provider(), strings.Join(known, ", "), cli.DidYouMean(target.Nearest(name, known)))
	}
	if err != nil {
		return nil, fmt.Errorf("read the event: %w", err)
	}
	return testevent.DraftOf(src, text, changes)
}

// closed says which secret an endpoint misses.
func closed(s *app.Setup, src *source.Source, endpoint source.Endpoint) error {
	missing, example := "signing_secrets", `["${`+strings.ToUpper(src.Provider())+`_SECRET}"]`
	if endpoint == source.Database {
		missing, example = "database_webhook", `{secrets: ["${DATABASE_WEBHOOK_SECRET}"]}`
	}
	return fmt.Errorf("%s: the %s endpoint of source %s is closed, because it has no secret; give it one, such as\n    %s: %s",
		s.Config.At("sources."+src.Name()), endpoint, src.Name(), missing, example)
}

func readFile(name string, stdin io.Reader) ([]byte, error) {
	if name == "-" {
		return io.ReadAll(stdin)
	}
	return os.ReadFile(name)
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
