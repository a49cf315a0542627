package operate

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"rollcall/internal/app"
	"rollcall/internal/cli"
	"rollcall/internal/event"
	"rollcall/internal/postgres/history"
	"rollcall/internal/replay"
	"rollcall/internal/terminal"
)

const replayHelp = `Applies recorded events once more: the body that was kept is decoded and applied as a webhook is. So nothing
is doubled, no newer state is overwritten, and no deleted user comes back. What the event is about is settled in every
target: rows that were changed behind Rollcall's back are corrected, parked ones tried. An event that an older version
could not read is read anew, and its recorded outcome corrected.

Name events by their ids, with the source in front if two sources have one; or choose a range with --since, --until,
--type, --outcome and --user, of all sources or of SOURCE. A range is replayed in order of arrival. A run that was
interrupted continues where it was, if the same command is started again within six hours. Above 1,000 events it asks;
--yes answers.

What an event became:
  applied       it is in the roll now, and the targets have it
  duplicate     the roll has it already, or something newer; the rows were settled again
  stale         the roll has something newer, and the event was never applied
  parked        a target refuses the row; see rollcall parked
  undecodable   it still can't be read
  ignored       Rollcall does not handle such events
  skipped       there is nothing to replay: an announcement, no body and no user, an unknown source

Of an event without a body the user is settled as the roll has them. Exits 1 when one is parked, undecodable or skipped.

--dry-run runs the same transactions, rolls each back, and prints what would change in the targets. Personal data
are masked unless --reveal. Only numbers that sequences give out are used up.

--output json prints one object:
  events      by ids: each with source, id, type, user, outcome (as it was recorded), received_at, bytes,
              became, reason
  tally       of a range: events, resumed (by an earlier run), became (numbers by what they became),
              without_body; problems are the first 100 events that need a look
  changes     with --dry-run: each with target, source, roll, id, action (insert, update, delete, adopt), columns,
              of which each has column, old and new
  remarks     with --dry-run: what a target would refuse`

const (
	// askedAbove is how many events are replayed without a question.
	askedAbove = 1000
	// problemsShown is how many events that need a look a range names.
	problemsShown = 100
)

// replayOptions are the flags of replay.
type replayOptions struct {
	*filterFlags
	dryRun, yes, reveal bool
	output              *cli.Output
	ids                 []string // none for a range
}

func newReplay(env cli.Env) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "replay [SOURCE] ID… | [SOURCE] --since MOMENT",
		Short: "Applies recorded events once more",
		Long:  replayHelp,
		Example: `  rollcall replay msg_2RollcallSample0000000000000 --dry-run
  rollcall replay clerk --since 2026-11-21T03:00:00Z --until 2026-11-22
  rollcall replay --since 30d --outcome undecodable`,
		ValidArgsFunction: sourceAndEventIDs(env),
	}
	o := replayOptions{filterFlags: addFilter(cmd, env)}
	cmd.Flags().BoolVar(&o.dryRun, "dry-run", false, "print what would change in the targets, and change nothing")
	cmd.Flags().BoolVar(&o.yes, "yes", false, "replay more than 1,000 events without asking")
	cmd.Flags().BoolVar(&o.reveal, "reveal", false, "with --dry-run: show personal data")
	o.output = cli.AddOutput(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		s, err := env.Load(cmd)
		if err == nil {
			err = o.take(s, args)
		}
		if err == nil {
			err = o.check(s)
		}
		if err != nil {
			return err
		}
		if o.dryRun {
			return o.foresee(cmd.Context(), env, s)
		}
		return o.run(cmd.Context(), env, s)
	}
	return cmd
}

// take reads the arguments: ids, or a range; a source in front of them.
func (o *replayOptions) take(s *app.Setup, args []string) error {
	ranged := o.chooses()
	if len(args) > 0 && (ranged || len(args) > 1) {
		if _, err := s.Source(args[0]); err == nil {
			o.sources, args = args[:1], args[1:]
		} else if ranged && len(args) == 1 {
			return err
		}
	}
	o.ids = args
	switch {
	case ranged && len(args) > 0:
		return cli.Usagef("name events by their ids, or choose a range, not both")
	case !ranged && len(args) == 1 && slices.Contains(cli.SourceNames(s.Config), args[0]):
		return cli.Usagef("name the events of %s by their ids, or choose a range with --since", args[0])
	case !ranged && len(args) == 0:
		return cli.Usagef("name the events by their ids, or choose a range with --since")
	}
	return nil
}

// named finds the events with the ids; that one is missing is an error.
func (o *replayOptions) named(ctx context.Context, h history.History) ([]history.Event, error) {
	events, err := h.Named(ctx, strings.Join(o.sources, ""), o.ids...)
	if err != nil {
		return nil, err
	}
	found := map[string]string{}
	for i := range events {
		e := &events[i]
		if before, twice := found[e.ID]; twice {
			return nil, cli.Usagef("the sources %s and %s both have an event %q; name the source in front of it", before, e.Source, e.ID)
		}
		found[e.ID] = e.Source
	}
	for _, id := range o.ids {
		if found[id] == "" {
			return nil, fmt.Errorf("there is no event %q; nothing was replayed", id)
		}
	}
	return events, nil
}

func (o *replayOptions) run(ctx context.Context, env cli.Env, s *app.Setup) error {
	checked := env.Waiting("checking the targets")
	worker, err := s.StartWorker(ctx, s.Logger(env.Stderr), env.Complain)
	checked()
	if err != nil {
		return err
	}
	defer worker.Stop()
	r := replay.Replay{DB: worker.DB, Sources: s.Sources, Submit: worker.Submit}
	if len(o.ids) == 0 {
		return o.runRange(ctx, env, r)
	}
	events, err := o.named(ctx, worker.DB.History())
	if err != nil {
		return err
	}
	results, err := r.Events(ctx, events)
	if err != nil {
		return err
	}
	return o.print(env, &replayed{Events: results}, results)
}

// runRange replays a range, once the person who asks has agreed to its size.
func (o *replayOptions) runRange(ctx context.Context, env cli.Env, r replay.Replay) error {
	chosen, err := o.filter(ctx, r.DB)
	if err != nil {
		return err
	}
	if chosen.Until.IsZero() {
		chosen.Until = time.Now()
	}
	n, err := r.DB.History().Count(ctx, chosen)
	if err == nil && n > askedAbove && !o.yes {
		err = agree(env, n)
	}
	if err != nil {
		return err
	}
	began := time.Now()
	var problems []replay.Result
	show, finish := env.Bar("replaying")
	tally, err := r.Range(ctx, replay.Range{Filter: chosen, Asked: o.asked(), Progress: show, Each: func(page []replay.Result) error {
		for i := range page {
			if needsLook(&page[i]) && len(problems) < problemsShown {
				problems = append(problems, page[i])
			}
		}
		return nil
	}})
	finish()
	if err != nil && ctx.Err() != nil {
		return fmt.Errorf("stopped after %s events; run the same command again within six hours of its start to continue there", cli.Grouped(tally.Events))
	}
	if errors.Is(err, replay.ErrRunning) {
		return fmt.Errorf("%w; wait until it has ended", err)
	}
	if err != nil {
		return fmt.Errorf("%w; %s events are replayed, and the same command continues there", err, cli.Grouped(tally.Events))
	}
	return o.print(env, &replayed{Tally: &tally, Problems: problems, took: time.Since(began)}, problems)
}

// asked is the command as it was written: the same goes on where an earlier run of it was interrupted.
func (o *replayOptions) asked() string {
	return fmt.Sprintf("sources %q types %q outcomes %q user %q since %q until %q", o.sources, o.types, o.outcomes, o.user, o.since, o.until)
}

// agree asks a person whether so many events are meant; without a terminal there is no person.
func agree(env cli.Env, n int64) error {
	in, isFile := env.Stdin.(*os.File)
	if !isFile || !terminal.IsFile(in) || !terminal.Is(env.Stderr) {
		return cli.Usagef("these are %s events; write --yes to replay more than %s", cli.Grouped(n), cli.Grouped(askedAbove))
	}
	fmt.Fprintf(env.Stderr, "Replay %s events? [y/N] ", cli.Grouped(n))
	answer, err := bufio.NewReader(in).ReadString('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	if !slices.Contains([]string{"y", "yes"}, strings.ToLower(strings.TrimSpace(answer))) {
		return errors.New("nothing was replayed")
	}
	return nil
}

// needsLook reports whether a replay has not done what it is for.
func needsLook(r *replay.Result) bool {
	return slices.Contains([]event.Outcome{event.Parked, event.UndecodableBody, replay.Skipped}, r.Became)
}

// replayed is the result of replay.
type replayed struct {
	Events   []replay.Result `json:"events,omitempty"`
	Tally    *replay.Tally   `json:"tally,omitempty"`
	Problems []replay.Result `json:"problems,omitempty"`
	Changes  []replay.Change `json:"changes,omitempty"`
	Remarks  []string        `json:"remarks,omitempty"`
	DryRun   bool            `json:"dry_run,omitempty"`
	took     time.Duration
}

func (o *replayOptions) print(env cli.Env, done *replayed, results []replay.Result) error {
	if err := o.output.Write(env.Stdout, done, done.text); err != nil {
		return err
	}
	problems := 0
	for i := range results {
		if needsLook(&results[i]) {
			problems++
		}
	}
	if done.Tally != nil {
		problems = int(done.Tally.Became[string(event.Parked)] + done.Tally.Became[string(event.UndecodableBody)] + done.Tally.Became[string(replay.Skipped)])
	}
	if problems > 0 && !o.dryRun {
		return fmt.Errorf("events that need a look: %d", problems)
	}
	return nil
}

func (r *replayed) text(to io.Writer) error {
	var lines []string
	for _, list := range [][]replay.Result{r.Events, r.Problems} {
		for i := range list {
			lines = append(lines, resultLines(&list[i])...)
		}
	}
	adopted := 0
	for i := range r.Changes {
		lines = append(lines, ChangeLines(&r.Changes[i])...)
		if r.Changes[i].Action == "adopt" {
			adopted++
		}
	}
	if adopted > 0 {
		lines = append(lines, fmt.Sprintf("rows that users would take over: %d", adopted))
	}
	for _, remark := range r.Remarks {
		lines = append(lines, terminal.Fill(oneLine(remark), 2)...)
	}
	if r.Tally != nil {
		lines = append(lines, r.total()...)
	}
	if r.DryRun {
		lines = append(lines, "a dry run: nothing was written")
	}
	_, err := fmt.Fprintln(to, strings.Join(lines, "\n"))
	return err
}

func resultLines(r *replay.Result) []string {
	line := fmt.Sprintf("%s  %s  %s, was %s", r.ID, r.Type, r.Became, r.Outcome)
	lines := terminal.Fill(oneLine(line), 2)
	if r.Reason != "" {
		lines = append(lines, terminal.Fill("  "+oneLine(r.Reason), 2)...)
	}
	return lines
}

// ChangeLines are a row, and its columns as target: column: old → new.
func ChangeLines(c *replay.Change) []string {
	lines := []string{oneLine(fmt.Sprintf("%s of %s of %s", c.Action, c.ID, c.Source))}
	for _, column := range c.Columns {
		lines = append(lines, oneLine(fmt.Sprintf("  %s: %s: %s → %s", c.Target, column.Column, shownJSON(column.Old), shownJSON(column.New))))
	}
	return lines
}

func (r *replayed) total() []string {
	t := r.Tally
	counts := make([]string, 0, len(t.Became))
	for _, name := range slices.SortedFunc(maps.Keys(t.Became), func(a, b string) int {
		return cmp.Or(cmp.Compare(t.Became[b], t.Became[a]), strings.Compare(a, b))
	}) {
		counts = append(counts, name+" "+cli.Grouped(t.Became[name]))
	}
	line := fmt.Sprintf("replayed %s events", cli.Grouped(t.Events))
	if r.DryRun {
		line = fmt.Sprintf("would replay %s events", cli.Grouped(t.Events))
	}
	if t.Resumed > 0 {
		line += fmt.Sprintf(" (%s of them before it was interrupted)", cli.Grouped(t.Resumed))
	}
	if len(counts) > 0 {
		line += ": " + strings.Join(counts, ", ")
	}
	if t.WithoutBody > 0 {
		line += fmt.Sprintf("; without a body: %s, whose users were settled as the roll has them", cli.Grouped(t.WithoutBody))
	}
	if r.took > 0 {
		line += fmt.Sprintf(" (%.1f s)", r.took.Seconds())
	}
	return terminal.Fill(line, 2)
}
