package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"rollcall/internal/app"
	"rollcall/internal/cli"
	"rollcall/internal/cli/operate"
	"rollcall/internal/postgres"
	"rollcall/internal/postgres/audit"
	"rollcall/internal/postgres/backfill"
	"rollcall/internal/target"
)

func newBackfill(env cli.Env) *cobra.Command {
	cmd := &cobra.Command{
		Use:               "backfill TARGET",
		Short:             "Fills a new or emptied target from the roll",
		Args:              cli.OneArg("target", 1),
		ValidArgsFunction: env.Named(cli.TargetNames),
	}
	out := cli.AddOutput(cmd)
	var dry bool
	cmd.Flags().BoolVar(&dry, "dry-run", false, "count what would be done, change nothing")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		s, err := env.Load(cmd)
		if err != nil {
			return err
		}
		if _, err := targetNamed(s, args[0]); err != nil {
			return err
		}
		return env.OnDatabase(s, func(db *postgres.DB) error {
			job := &backfillJob{db: db, target: args[0], output: out, dry: dry}
			finish := env.Waiting("checking " + args[0])
			err := job.check(cmd.Context())
			finish()
			if err != nil {
				return err
			}
			if dry {
				return job.preview(cmd.Context(), env)
			}
			return job.run(cmd.Context(), env)
		})
	}
	return cmd
}

// targetNamed is a target of the configuration.
func targetNamed(s *app.Setup, name string) (*target.Target, error) {
	for i := range s.Targets {
		if s.Targets[i].Name == name {
			return &s.Targets[i], nil
		}
	}
	names := cli.TargetNames(s.Config)
	return nil, cli.Usagef("there is no target %q; the configuration has %s%s", name, strings.Join(names, ", "), cli.DidYouMean(target.Nearest(name, names)))
}

// backfillJob is one run of the command.
type backfillJob struct {
	db     *postgres.DB
	target string
	output *cli.Output
	dry    bool
}

// check prepares the database as serve does, but for a dry run, and finds out what is wrong
// with the target.
func (job *backfillJob) check(ctx context.Context) error {
	if !job.dry {
		if _, err := job.db.Migrate(ctx); err != nil {
			return err
		}
	}
	findings, err := app.Faults(ctx, job.db)
	if err != nil {
		return err
	}
	return join(slices.DeleteFunc(findings, func(f target.Finding) bool { return f.Target != job.target }))
}

// preview prints what a backfill would do.
func (job *backfillJob) preview(ctx context.Context, env cli.Env) error {
	finish := env.Waiting("counting what " + job.target + " lacks")
	p, err := job.db.Backfills().Preview(ctx, job.target)
	finish()
	if err != nil {
		return err
	}
	result := struct {
		Target string `json:"target"`
		Visit  int64  `json:"visit"`
		Insert int64  `json:"insert"`
		Adopt  int64  `json:"adopt"`
		Change int64  `json:"change"`
		Remove int64  `json:"remove"`
		Park   int64  `json:"park"`
	}{job.target, p.Visit, p.Insert, p.Adopt, p.Change, p.Remove, p.Park}
	return job.output.Write(env.Stdout, result, func(to io.Writer) error {
		line := fmt.Sprintf("would fill %s: %s rows of the roll to visit, %s rows to insert, %s to change, %s to remove",
			job.target, cli.Grouped(p.Visit), cli.Grouped(p.Insert), cli.Grouped(p.Change), cli.Grouped(p.Remove))
		if p.Adopt+p.Park > 0 {
			line += fmt.Sprintf("; %s without a key to take over, %s users to park", cli.Grouped(p.Adopt), cli.Grouped(p.Park))
		}
		_, err := fmt.Fprintln(to, line)
		return err
	})
}

func (job *backfillJob) run(ctx context.Context, env cli.Env) error {
	show, finish := env.Bar("filling " + job.target)
	before := int64(-1) // visited by an interrupted run, which says nothing about the rate of this one
	start := time.Now()
	done, err := job.db.Backfills().Run(ctx, job.target, func(done, total int64) {
		if before < 0 {
			before = done
		}
		show(done-before, total-before)
	})
	finish()
	if ctx.Err() != nil && errors.Is(err, ctx.Err()) {
		return fmt.Errorf("stopped after %s rows of the roll for %s; run the same command again to continue there", cli.Grouped(done.Visited), job.target)
	}
	if err != nil {
		return err
	}
	var groups []audit.ParkedGroup
	if done.Parked > 0 {
		if groups, err = job.db.Audit().ParkedGroups(ctx, audit.ParkedFilter{Targets: []string{job.target}, Groups: 5}); err != nil {
			return err
		}
	}
	return job.show(env, done, groups, time.Since(start))
}

// show prints what a backfill has done.
func (job *backfillJob) show(env cli.Env, done backfill.Result, parked []audit.ParkedGroup, took time.Duration) error {
	result := struct {
		Target  string  `json:"target"`
		Visited int64   `json:"visited"`
		Resumed int64   `json:"resumed"`
		Moved   int64   `json:"moved"`
		Parked  int64   `json:"parked"`
		Seconds float64 `json:"seconds"`
		// Reasons say who is parked and why, users of earlier events included.
		Reasons []audit.ParkedGroup `json:"reasons,omitempty"`
	}{job.target, done.Visited, done.Resumed, done.Moved, done.Parked, took.Seconds(), parked}
	return job.output.Write(env.Stdout, result, func(to io.Writer) error {
		lines := append([]string{sayBackfilled(job.target, done, took)}, operate.ParkedLines(parked)...)
		_, err := fmt.Fprintln(to, strings.Join(lines, "\n"))
		return err
	})
}

func sayBackfilled(target string, done backfill.Result, took time.Duration) string {
	more := ""
	if done.Resumed > 0 {
		more += fmt.Sprintf(" (%s of them before)", cli.Grouped(done.Resumed))
	}
	if done.Moved > 0 {
		more += fmt.Sprintf(", %s again because a replica with another configuration moved them", cli.Grouped(done.Moved))
	}
	rate := float64(done.Visited-done.Resumed) / took.Seconds()
	return fmt.Sprintf("filled %s: %s rows of the roll visited%s, %s parked, %.1f s, %s/s",
		target, cli.Grouped(done.Visited), more, cli.Grouped(done.Parked), took.Seconds(), cli.Grouped(int64(rate)))
}
