package operate

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"rollcall/internal/cli"
	"rollcall/internal/postgres"
	"rollcall/internal/postgres/history"
	"rollcall/internal/source"
)

const eventsHelp = `Lists recorded events, the newest first: when each was received, its outcome, source and type, and
below it the id, the user's, and what the rules about sign-ups have decided. With an ID it shows one
event and its body. Personal data in the body are masked unless --reveal.

Events about memberships are their user's, too. What a capture, a reconciliation or just-in-time sync has
found leaves no event. Bodies are kept for retention.bodies.

Exits 1 when there is no event with the ID.

--output json prints one object:
  events    each with source, id, type, user, outcome, received_at, and bytes,
            the size of the body: null without one; reason, where rules have
            decided about a sign-up. With an ID also body: the JSON that was
            kept, or a text if it is none.
  next      what --after continues the list with; left out at its end`

// mostEvents is how many events a page may have.
const mostEvents = 1000

// eventsOptions are the flags of events.
type eventsOptions struct {
	*filterFlags
	limit  int
	after  string
	reveal bool
	output *cli.Output
}

func newEvents(env cli.Env) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "events [ID]",
		Short: "Lists recorded events, or shows one with its body",
		Long:  eventsHelp,
		Example: `  rollcall events --since 2h --outcome parked --outcome undecodable
  rollcall events --user ada@example.com --limit 10
  rollcall events msg_2RollcallSample0000000000000 --reveal`,
		Args:              cli.OneArg("event", 0),
		ValidArgsFunction: eventID(env),
	}
	o := eventsOptions{filterFlags: addFilter(cmd, env)}
	cmd.Flags().StringSliceVar(&o.sources, "source", nil, "only of a `SOURCE`; may be repeated")
	_ = cmd.RegisterFlagCompletionFunc("source", env.Named(cli.SourceNames)) // fails for an unknown flag
	cmd.Flags().IntVar(&o.limit, "limit", 50, fmt.Sprintf("how many events to list, at most %d", mostEvents))
	cmd.Flags().StringVar(&o.after, "after", "", "continue a list behind its `CURSOR`: next of --output json")
	cmd.Flags().BoolVar(&o.reveal, "reveal", false, "with an ID: show the body as it was kept")
	o.output = cli.AddOutput(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if o.limit < 1 || o.limit > mostEvents {
			return cli.Usagef("--limit: write a number from 1 to %d", mostEvents)
		}
		if len(args) == 1 && (o.chooses() || o.after != "") {
			return cli.Usagef("name an event by its id, or choose events, not both")
		}
		if len(args) == 1 && len(o.sources) > 1 {
			return cli.Usagef("--source: name one, that of the event")
		}
		s, err := env.Load(cmd)
		if err == nil {
			err = o.check(s)
		}
		if err != nil {
			return err
		}
		return env.OnDatabase(s, func(db *postgres.DB) error {
			if err := db.Migrated(cmd.Context()); err != nil {
				return err
			}
			if len(args) == 1 {
				return o.show(cmd.Context(), env, db, args[0])
			}
			return o.list(cmd.Context(), env, db)
		})
	}
	return cmd
}

// list prints a page.
func (o *eventsOptions) list(ctx context.Context, env cli.Env, db *postgres.DB) error {
	chosen, err := o.filter(ctx, db)
	if err != nil {
		return err
	}
	page, err := db.History().List(ctx, chosen, history.Paging{Limit: o.limit, After: o.after})
	if err != nil {
		return cursorError(err)
	}
	return o.output.Write(env.Stdout, page, func(to io.Writer) error {
		for i := range page.Events {
			if _, err := io.WriteString(to, eventLines(&page.Events[i])); err != nil {
				return err
			}
		}
		if page.Next != "" {
			_, err := fmt.Fprintf(to, "and older ones; to continue:\n--after %s\n", page.Next)
			return err
		}
		if len(page.Events) == 0 {
			_, err := fmt.Fprintln(to, "no events")
			return err
		}
		return nil
	})
}

// shownTime is how a moment is shown: UTC, to the second.
func shownTime(at time.Time) string { return at.UTC().Format("2006-01-02 15:04:05Z") }

// eventLines are the two lines of an event in a list. They have no tabs: the columns of one must not widen the other.
func eventLines(e *history.Event) string {
	second := "  " + e.ID
	if e.User != "" {
		second += "  " + e.User
	}
	if e.Reason != "" {
		second += "  " + e.Reason
	}
	return oneLine(fmt.Sprintf("%s  %-13s  %s  %s", shownTime(e.ReceivedAt), e.Outcome, e.Source, e.Type)) + "\n" + oneLine(second) + "\n"
}

// oneLine keeps a text that a provider has sent from being several.
func oneLine(text string) string { return strings.NewReplacer("\n", `\n`, "\t", `\t`).Replace(text) }

// shownEvent is an event with its body.
type shownEvent struct {
	history.Event
	Body any `json:"body,omitempty"`
}

// show prints the events with an id: sources have ids of their own, so there may be several.
func (o *eventsOptions) show(ctx context.Context, env cli.Env, db *postgres.DB, id string) error {
	of := ""
	if len(o.sources) > 0 {
		of = o.sources[0]
	}
	events, err := db.History().Named(ctx, of, id)
	if err != nil {
		return err
	}
	if len(events) == 0 {
		return fmt.Errorf("there is no event %q; retention.events may have removed it", id)
	}
	bodies, err := db.History().Bodies(ctx, events)
	if err != nil {
		return err
	}
	var shown []shownEvent
	for i := range events {
		one := shownEvent{Event: events[i]}
		if body, has := bodies[history.Key{Source: one.Source, ID: one.ID}]; has {
			one.Body = o.body(body)
		}
		shown = append(shown, one)
	}
	result := struct {
		Events []shownEvent `json:"events"`
	}{shown}
	return o.output.Write(env.Stdout, result, func(to io.Writer) error {
		for i := range shown {
			if err := writeShown(to, &shown[i]); err != nil {
				return err
			}
		}
		return nil
	})
}

// body is what is shown of a body: JSON, or a text.
func (o *eventsOptions) body(kept []byte) any {
	if !o.reveal {
		kept = source.MaskBody(kept)
	}
	if json.Valid(kept) {
		return json.RawMessage(kept)
	}
	return string(kept)
}

func writeShown(to io.Writer, e *shownEvent) error {
	var body bytes.Buffer
	switch b := e.Body.(type) {
	case json.RawMessage:
		if err := json.Indent(&body, b, "", "  "); err != nil {
			return err
		}
	case string:
		body.WriteString(b)
	default:
		body.WriteString("no body: its type has none, or retention.bodies has passed")
	}
	// A body has no tabs of its own that could be taken for columns: JSON escapes them.
	_, err := fmt.Fprintf(to, "%s%s\n", eventLines(&e.Event), strings.ReplaceAll(body.String(), "\t", `\t`))
	return err
}

// cursorError makes a usage error of a cursor that is none.
func cursorError(err error) error {
	if errors.Is(err, history.ErrCursor) {
		return cli.Usagef("--after: %w", err)
	}
	return err
}
