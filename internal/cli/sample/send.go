package sample

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"rollcall/internal/app"
	"rollcall/internal/cli"
	"rollcall/internal/event"
	"rollcall/internal/postgres"
	"rollcall/internal/source"
	"rollcall/internal/testevent"
	"rollcall/internal/trial"
)

// draftHelp explains to send and sign alike what can be sent.
func draftHelp() string {
	return `SOURCE is the name of a source in the configuration.

EVENT is a built-in event. It is dated now and about a made-up user, always the same, so
that the events of a provider tell one story; a delete is final, so the next story wants
another id (--set data.id=user_2, --set user.id=…, --set record.id=…). Only a membership may
begin again.
  of clerk:    ` + strings.Join(testevent.Names(source.Clerk), ", ") + `
  of supabase: ` + strings.Join(testevent.Names(source.Supabase), ", ") + `

FILE is a body, or a capture {"headers":{…},"body":"…"}, or - for standard input. Its body
is sent as it is, signed anew. An old one may prove stale, and a hook of Supabase that was
seen before a duplicate, for its id is in the body: metadata.uuid. --set makes it a new one.

--set puts a value into the body. A path is made of names and indexes with dots between
them; a value is JSON if it can be read as JSON, else a text:
  --set data.first_name=Zoé --set data.banned=true --set 'data.username="007"'
  --set 'data.email_addresses[0].email_address=zoe@example.com'`
}

const sendHelp = `Signs an event as its provider would, posts it to a running serve, and prints a line for
each request: status, outcome, event, user (or organization) and time. Where a target refused
the user (parked), a line for each says why, as does one for a stale event, unless --url names
another serve. Exits 0 when all were accepted (2xx).

%s

--count N sends N events, each with an id of its own, about N users: the second has the id
of the first with _2 behind it (or a uuid made from it), ada+2@example.com for ada@example.com,
and so on, also in other events: user.updated reaches those that user.created made. If --set
gives the user's id, all N are about that one user. N memberships are of one organization.

--dry-run sends nothing. It says what the event would change in the targets, as the database of the
configuration has it, with personal data masked; serve need not run. For before-user-created of a source
with admission it prints what that decides: verdict, rule, user and reason, and the answer to a refusal.
The database is asked only where the lists leave it to require. Exits 0 whatever the verdict.

Requests go to this machine at the port of listen, to another host only if --url names it.`

const sendExample = `  rollcall send clerk user.created
  rollcall send clerk user.updated --set data.first_name=Zoé
  rollcall send clerk organizationMembership.created --set data.role=org:admin
  rollcall send supabase database.insert --count 100
  rollcall send supabase before-user-created --dry-run
  rollcall send supabase captured.json --url https://rollcall.example.com`

// sendOptions are the flags of send.
type sendOptions struct {
	draftFlags
	count  int
	output string
	dryRun bool
}

func newSend(env cli.Env) *cobra.Command {
	var o sendOptions
	cmd := &cobra.Command{
		Use:               "send SOURCE EVENT|FILE",
		Short:             "Signs an event as its provider would and sends it",
		Long:              fmt.Sprintf(sendHelp, draftHelp()),
		Example:           sendExample,
		Args:              sourceAndEvent,
		ValidArgsFunction: events(env),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if o.count < 1 {
				return cli.Usagef("--count %d: must be at least 1", o.count)
			}
			if o.dryRun && (o.count > 1 || o.url != "") {
				return cli.Usagef("--dry-run asks the database of the configuration about one event: leave out --count and --url")
			}
			if o.output != "text" && o.output != "json" {
				return cli.Usagef("--output %s: must be text or json", o.output)
			}
			d, err := newDraft(cmd, env, o.draftFlags)
			if err != nil {
				return err
			}
			if o.dryRun {
				return dryRun(cmd.Context(), env, d, o.output)
			}
			return sendAll(cmd.Context(), env, d, o)
		},
	}
	o.bind(cmd)
	cmd.Flags().IntVar(&o.count, "count", 1, "how many to send, one after the other")
	cmd.Flags().BoolVar(&o.dryRun, "dry-run", false, "say which rows it would change, or what admission decides, and send nothing")
	cmd.Flags().StringVarP(&o.output, "output", "o", "text", "text, or json: an object for each request, on a line of its own")
	return cmd
}

// sendAll sends one after the other, so that their order is theirs.
func sendAll(ctx context.Context, env cli.Env, d *draft, o sendOptions) error {
	one, err := d.AboutOne()
	if err != nil {
		return err
	}
	to, refused := testevent.NewSender(d.base), 0
	for n := range o.count {
		user := n + 1
		if one {
			user = 1
		}
		body, err := d.Body(user, n > 0)
		if err != nil {
			return err
		}
		r, err := d.Seal(body)
		if err != nil {
			return err
		}
		a, err := to.Post(ctx, r)
		if err != nil {
			return err
		}
		if !a.Accepted() {
			refused++
		}
		done := sent{Request: r, Answer: a}
		if o.url == "" {
			done.explain(ctx, env, d)
		}
		if err := done.report(env.Stdout, o.output); err != nil {
			return err
		}
	}
	return summary(refused, o.count)
}

func summary(refused, count int) error {
	switch {
	case refused == 0:
		return nil
	case count == 1:
		return errors.New("the request was not accepted; the log of serve says why")
	}
	return fmt.Errorf("%d of %d requests were not accepted; the log of serve says why", refused, count)
}

// sent is a request and what became of it.
type sent struct {
	testevent.Request
	testevent.Answer
	parked map[string]string // why, by target; as far as it is known
	stale  string            // why
}

func (s sent) report(to io.Writer, output string) error {
	if output == "json" {
		return s.reportJSON(to)
	}
	e := s.Event()
	line := fmt.Sprintf("%d  %-11s  %-22s  %-36s  %4d ms", s.Status, cmp.Or(s.Outcome, "-"), e.Type, cmp.Or(e.UserID, e.OrganizationID(), "-"), s.Took.Milliseconds())
	if complaint := s.Complaint(); complaint != "" {
		line += "  " + complaint
	}
	lines := []string{event.Printable(line)}
	for _, target := range slices.Sorted(maps.Keys(s.parked)) {
		lines = append(lines, event.Printable("     "+target+": "+s.parked[target]))
	}
	if s.stale != "" {
		lines = append(lines, event.Printable("     "+s.stale))
	}
	_, err := fmt.Fprintln(to, strings.Join(lines, "\n"))
	return err
}

// explain looks in the database of the configuration for the reasons of an outcome; it finds none where that
// can't be asked.
func (s *sent) explain(ctx context.Context, env cli.Env, d *draft) {
	if s.Outcome != string(event.Parked) && s.Outcome != string(event.Stale) {
		return
	}
	db, err := d.setup.Open(d.setup.Logger(env.Stderr))
	if err != nil {
		return
	}
	defer app.CloseSoon(db)
	ctx, cancel := context.WithTimeout(ctx, whyTimeout)
	defer cancel()
	why := trial.Why{DB: db, Source: d.Source, Table: deciding(ctx, db, d)}
	if s.Outcome == string(event.Stale) {
		s.stale = why.Stale(ctx, s.Request)
		return
	}
	s.parked, _ = why.Parked(ctx, s.Event()) // what can't be asked for is not told
}

// deciding is the table that decides about the users of the source, "" where their versions do.
func deciding(ctx context.Context, db *postgres.DB, d *draft) string {
	for _, c := range d.setup.Captures() {
		if c.Source == d.Source.Name() && db.Roll().Follow(ctx, c.Source, c.Table) == nil {
			return c.Table
		}
	}
	return ""
}

// whyTimeout bounds a look that only explains.
const whyTimeout = 2 * time.Second

// reportJSON uses the names that the log line of the webhook has.
func (s sent) reportJSON(to io.Writer) error {
	line := struct {
		Source  string  `json:"source"`
		Type    string  `json:"type"`
		Outcome string  `json:"outcome"`
		Status  int     `json:"status"`
		Seconds float64 `json:"seconds"`
		Event   string  `json:"event,omitempty"`
		User    string  `json:"user,omitempty"`
		// Organization is the one that the event is about, or whose membership.
		Organization string `json:"organization,omitempty"`
		Answer       any    `json:"answer,omitempty"`
		// Parked says why, by target.
		Parked map[string]string `json:"parked,omitempty"`
		// Stale says why.
		Stale string `json:"stale,omitempty"`
	}{Source: s.Source.Name(), Outcome: s.Outcome, Parked: s.parked, Stale: s.stale, Status: s.Status, Seconds: s.Took.Seconds()}
	e := s.Event()
	line.Type, line.Event, line.User, line.Organization = e.Type, s.eventID(e), e.UserID, e.OrganizationID()
	if json.Valid(s.Answer.Body) {
		line.Answer = json.RawMessage(s.Answer.Body)
	} else if len(s.Answer.Body) > 0 {
		line.Answer = string(s.Answer.Body)
	}
	encoder := json.NewEncoder(event.PrintableTo(to))
	encoder.SetEscapeHTML(false)
	return encoder.Encode(line)
}

// eventID is the id under which the receiver records the event; at the endpoint of database webhooks it
// makes one up itself.
func (s sent) eventID(e event.Event) string {
	if s.Endpoint == source.Database {
		return ""
	}
	return e.ID
}
