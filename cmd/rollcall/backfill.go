package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"rollcall/internal/postgres"
)

func newBackfill(w world) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "backfill TARGET",
		Short: "Fills a new or emptied target from the roll; goes on where an interrupted run stopped",
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) != 1 {
				return errUsage{errors.New("backfill wants one argument, the TARGET's name, such as: rollcall backfill profiles")}
			}
			return nil
		},
	}
	out := addOutputFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		asJSON, err := out.json()
		if err != nil {
			return err
		}
		db, err := openTarget(cmd, w, args[0])
		if err != nil {
			return err
		}
		defer db.Close()
		return backfill(cmd.Context(), w, &backfillJob{db: db, target: args[0], json: asJSON})
	}
	return cmd
}

// openTarget opens the database of a configuration for work on one target, which must be in
// service.
func openTarget(cmd *cobra.Command, w world, target string) (*postgres.DB, error) {
	s, err := load(cmd, w)
	if err != nil {
		return nil, err
	}
	var names []string
	for _, t := range s.targets {
		names = append(names, t.Name)
	}
	if !slices.Contains(names, target) {
		return nil, errUsage{fmt.Errorf("there is no target %q; the configuration has %s", target, strings.Join(names, ", "))}
	}
	db, err := s.open(w)
	if err != nil {
		return nil, err
	}
	if err := checkTarget(cmd.Context(), db, target); err != nil {
		db.Close()
		return nil, err
	}
	return db, nil
}

// checkTarget prepares the database as serve does, and finds out what is wrong with a target.
func checkTarget(ctx context.Context, db *postgres.DB, target string) error {
	if _, err := db.Migrate(ctx); err != nil {
		return err
	}
	findings, err := db.Check(ctx)
	if err != nil {
		return err
	}
	return join(slices.DeleteFunc(findings, func(f postgres.Finding) bool { return f.Target != target }))
}

// backfillJob is one run of the command.
type backfillJob struct {
	db     *postgres.DB
	target string
	json   bool
}

func backfill(ctx context.Context, w world, job *backfillJob) error {
	var bar *progress
	var before int64 // visited by an interrupted run
	start := time.Now()
	done, err := job.db.Backfill(ctx, job.target, func(p postgres.Progress) {
		if bar == nil {
			before = p.Visited
			bar = newProgress(w, p.Total-before, "filling "+job.target)
		}
		bar.Set(p.Visited - before)
	})
	bar.Finish()
	if ctx.Err() != nil && errors.Is(err, ctx.Err()) {
		return fmt.Errorf("stopped after %s users of %s; the next run goes on from there", grouped(done.Visited), job.target)
	}
	if err != nil {
		return err
	}
	return job.show(w, done, time.Since(start))
}

// show prints what a backfill has done.
func (job *backfillJob) show(w world, done postgres.Backfilled, took time.Duration) error {
	if job.json {
		return writeJSON(w.stdout, struct {
			Target  string  `json:"target"`
			Visited int64   `json:"visited"`
			Resumed int64   `json:"resumed"`
			Moved   int64   `json:"moved"`
			Parked  int64   `json:"parked"`
			Seconds float64 `json:"seconds"`
		}{job.target, done.Visited, done.Resumed, done.Moved, done.Parked, took.Seconds()})
	}
	more := ""
	if done.Resumed > 0 {
		more += fmt.Sprintf(" (%s of them before)", grouped(done.Resumed))
	}
	if done.Moved > 0 {
		more += fmt.Sprintf(", %s again because a replica with another configuration moved them", grouped(done.Moved))
	}
	rate := float64(done.Visited-done.Resumed) / took.Seconds()
	_, err := fmt.Fprintf(w.stdout, "filled %s: %s users visited%s, %s parked, %.1f s, %s/s\n",
		job.target, grouped(done.Visited), more, grouped(done.Parked), took.Seconds(), grouped(int64(rate)))
	return err
}

// grouped writes 1234567 as 1,234,567.
func grouped(n int64) string {
	text := strconv.FormatInt(n, 10)
	for at := len(text) - 3; at > 0; at -= 3 {
		text = text[:at] + "," + text[at:]
	}
	return text
}
