package sample

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"rollcall/internal/app"
	"rollcall/internal/cli"
	"rollcall/internal/cli/operate"
	"rollcall/internal/event"
	"rollcall/internal/replay"
	"rollcall/internal/source"
	"rollcall/internal/terminal"
	"rollcall/internal/testevent"
	"rollcall/internal/trial"
)

// preview is an event that is not sent.
type preview struct {
	env     cli.Env
	draft   *draft
	request testevent.Request
	output  string
}

// dryRun says what would become of the event, and sends nothing.
func dryRun(ctx context.Context, env cli.Env, d *draft, output string) error {
	body, err := d.Body(1, false)
	if err != nil {
		return err
	}
	request, err := d.Seal(body)
	if err != nil {
		return err
	}
	p := preview{env, d, request, output}
	if e := request.Event(); source.Announces(&e) && d.setup.Rules(d.Source.Name()) != nil {
		return p.judge(ctx)
	}
	return p.foresee(ctx)
}

// foresee says what the event would change.
func (p *preview) foresee(ctx context.Context) error {
	d, env := p.draft, p.env
	db, err := d.setup.OpenChecked(ctx, d.setup.Logger(env.Stderr), env.Complain)
	if err != nil {
		return err
	}
	defer app.CloseSoon(db)
	t := trial.Trial{Replay: replay.Replay{DB: db, Sources: []*source.Source{d.Source}}, Table: func(string) string { return deciding(ctx, db, d) }}
	tried, err := t.ForeseeRequest(ctx, p.request)
	if err != nil {
		return err
	}
	if p.output == "json" {
		encoder := json.NewEncoder(event.PrintableTo(env.Stdout))
		encoder.SetEscapeHTML(false)
		return encoder.Encode(tried)
	}
	_, err = fmt.Fprintln(env.Stdout, strings.Join(foreseenLines(tried), "\n"))
	return err
}

// foreseenLines are what an event would change, for people.
func foreseenLines(t *trial.Tried) []string {
	line := t.Type + "  would be " + t.Outcome
	if t.Reason != "" {
		line += ": " + t.Reason
	}
	lines := terminal.Fill(event.Printable(line), 2)
	for i := range t.Changes {
		lines = append(lines, operate.ChangeLines(&t.Changes[i])...)
	}
	for _, target := range slices.Sorted(maps.Keys(t.Parked)) {
		lines = append(lines, terminal.Fill(event.Printable(target+": would be parked: "+t.Parked[target]), 2)...)
	}
	for _, target := range slices.Sorted(maps.Keys(t.Unread)) {
		lines = append(lines, terminal.Fill(event.Printable(target+": its rows can't be read: "+t.Unread[target]), 2)...)
	}
	return append(lines, "a dry run: nothing was sent")
}
