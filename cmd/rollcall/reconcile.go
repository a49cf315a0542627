package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"rollcall/internal/config"
	"rollcall/internal/event"
	"rollcall/internal/pipeline"
	"rollcall/internal/postgres"
	"rollcall/internal/reconcile"
	"rollcall/internal/source"
)

// reconcileOptions are the flags of reconcile.
type reconcileOptions struct {
	dryRun    bool
	limit     int
	touched   bool
	maxDelete string
	output    *output
}

func newReconcile(w world) *cobra.Command {
	var o reconcileOptions
	cmd := &cobra.Command{
		Use:   "reconcile SOURCE",
		Short: "Compares the roll with all users of a provider, and mends it",
		Long: `Reads all users of the source (Supabase's from their table in this database, Clerk's from its
API), brings into the roll, and so into every target, who is missing there or differs, and
buries who is gone, after asking about each once more. It stops and buries nobody when more
would vanish than max_delete allows.

A run that was interrupted goes on where it was, if it is taken up within six hours.`,
		Args: sourceArg(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			s, err := load(cmd, w)
			if err != nil {
				return err
			}
			log := logger(s.config.Log, w.stderr)
			cfg, err := s.reconciliation(args[0], s.openAPIs(log))
			if err != nil {
				return err
			}
			cfg.Log = log
			if o.maxDelete != "" {
				if cfg.MaxDelete, err = config.Percent(o.maxDelete); err != nil {
					return errUsage{fmt.Errorf("--max-delete: %w", err)}
				}
			}
			if o.dryRun {
				return s.previewReconciliation(cmd.Context(), w, cfg, o)
			}
			return s.reconcile(cmd.Context(), w, cfg, o.output)
		},
	}
	cmd.Flags().BoolVar(&o.dryRun, "dry-run", false, "print what differs, column by column, and write nothing")
	cmd.Flags().IntVar(&o.limit, "limit", 200, "with --dry-run: of how many users to print what differs; all are counted")
	cmd.Flags().BoolVar(&o.touched, "touched", false,
		"with --dry-run: print also users that differ only in version, updated_at or last_sign_in_at")
	cmd.Flags().StringVar(&o.maxDelete, "max-delete", "", "share of the users that this run may bury, such as 20% (default: max_delete of the source)")
	o.output = addOutput(cmd)
	return cmd
}

// reconciliation is how a source is reconciled, but for the database.
func (s *setup) reconciliation(name string, apis map[string]*source.API) (reconcile.Config, error) {
	src, err := s.source(name)
	if err != nil {
		return reconcile.Config{}, err
	}
	cfg := reconcile.Config{Source: src, MaxDelete: config.DefaultMaxDelete}
	for _, c := range s.config.Sources {
		if c.Name != name {
			continue
		}
		if c.Reconcile != nil {
			cfg.MaxDelete = c.Reconcile.MaxDelete
		}
		switch {
		case c.UsersTable == config.NoTable:
			return cfg, fmt.Errorf("%s: %w: users_table of source %s is none; name a table to compare with", c.Pos, postgres.ErrUnseen, name)
		case c.Provider == config.Supabase:
			cfg.Table = usersTable(c)
		case c.API == nil:
			return cfg, fmt.Errorf("%s: source %s has no API to list its users; add api: {key: \"${CLERK_SECRET_KEY}\"} to it", c.Pos, name)
		default:
			cfg.API, cfg.URL = apis[name], c.API.URL
		}
	}
	return cfg, nil
}

// reconciled is the result of a run for programs.
type reconciled struct {
	Source string `json:"source"`
	postgres.Reconciled
	Seconds  float64             `json:"seconds"`
	DryRun   bool                `json:"dry_run,omitempty"`
	Error    string              `json:"error,omitempty"`
	Findings []reconcile.Finding `json:"findings,omitempty"` // of a dry run, not of all users
}

func (s *setup) reconcile(ctx context.Context, w world, cfg reconcile.Config, out *output) error {
	worker, err := s.startWorker(ctx, w)
	if err != nil {
		return err
	}
	defer worker.stop()
	show, finish := bar(w, "reconciling "+cfg.Source.Name())
	cfg.DB, cfg.Submit, cfg.Progress = worker.db, worker.pipeline.SubmitAll, show
	start := time.Now()
	tally, err := reconcile.Run(ctx, cfg)
	finish()
	if err != nil && ctx.Err() != nil {
		err = errors.New("interrupted; run the same again within six hours of its start, and it goes on there")
	}
	result := reconciled{Source: cfg.Source.Name(), Reconciled: tally, Seconds: time.Since(start).Seconds()}
	return errors.Join(err, result.print(w, out, err))
}

// print writes a result, and is an error where a user could not be followed.
func (r reconciled) print(w world, out *output, cause error) error {
	if cause != nil {
		r.Error = cause.Error()
		if *out == "text" && r.Reconciled == (postgres.Reconciled{}) {
			return nil // nothing was compared
		}
	}
	err := out.write(w.stdout, r, func(to io.Writer) error {
		_, err := fmt.Fprintf(to, "%s: created %d, updated %d, touched %d, deleted %d, unchanged %d, failed %d, in %.1f s\n",
			r.Source, r.Created, r.Updated, r.Touched, r.Deleted, r.Unchanged, r.Failed, r.Seconds)
		return err
	})
	if err == nil && r.Failed > 0 && cause == nil {
		where := "the log says whom and why"
		if r.DryRun {
			where = "they are listed as failed"
		}
		err = fmt.Errorf("the roll can't follow everybody (failed: %d); %s", r.Failed, where)
	}
	return err
}

func (s *setup) previewReconciliation(ctx context.Context, w world, cfg reconcile.Config, o reconcileOptions) error {
	db, err := s.open(w)
	if err != nil {
		return err
	}
	defer closeSoon(db)
	if err := db.Migrated(ctx); err != nil {
		return err
	}
	cfg.DB = db
	start := time.Now()
	result := reconciled{Source: cfg.Source.Name(), DryRun: true}
	left, shown := 0, map[bool]int{} // whom the roll can't follow has a limit of his own: others must not hide him
	result.Reconciled, err = reconcile.Preview(ctx, cfg, func(found reconcile.Finding) error {
		if found.Action == "touched" && !o.touched {
			return nil // after a quiet day they would be most of the list
		}
		failed := found.Action == "failed"
		if shown[failed] == o.limit {
			left++
			return nil
		}
		shown[failed]++
		result.Findings = append(result.Findings, found)
		if *o.output == "json" {
			return nil
		}
		return printFinding(w, found)
	})
	result.Seconds = time.Since(start).Seconds()
	if *o.output == "text" {
		if left > 0 {
			fmt.Fprintf(w.stdout, "… and %d users more (--limit)\n", left)
		}
		if err == nil || result.Reconciled != (postgres.Reconciled{}) {
			fmt.Fprintln(w.stdout, "a dry run: nothing was written")
		}
	}
	return errors.Join(err, result.print(w, o.output, err))
}

func printFinding(w world, found reconcile.Finding) error {
	reason := ""
	if found.Reason != "" {
		reason = ": " + found.Reason
	}
	user := event.Printable(found.User)
	if _, err := fmt.Fprintf(w.stdout, "%s %s%s\n", found.Action, user, event.Printable(reason)); err != nil {
		return err
	}
	if found.Action == "created" {
		return nil // all of him is new
	}
	for _, d := range found.Differences {
		roll, theirs := event.Printable(d.Roll), event.Printable(d.Theirs)
		if _, err := fmt.Fprintf(w.stdout, "  %-20s %s -> %s\n", d.Column, roll, theirs); err != nil {
			return err
		}
	}
	return nil
}

// worker is what a command needs that changes the roll: the same pipeline as serve's.
type worker struct {
	db       *postgres.DB
	pipeline *pipeline.Pipeline
	unwatch  func() // settles again whoever was written while a table changed
}

// startWorker opens the database, checks the targets and starts to apply. A target that is
// out of service is named; its users are parked.
func (s *setup) startWorker(ctx context.Context, w world) (*worker, error) {
	db, err := s.open(w)
	if err != nil {
		return nil, err
	}
	findings, err := ready(ctx, db)
	if err == nil {
		_, err = db.Unfilled(ctx) // before the first user arrives, or serve takes the targets for new ones
	}
	if err != nil {
		db.Close()
		return nil, err
	}
	for _, f := range findings {
		w.complain("out of service, its users are parked: %s", f)
	}
	s.follow(ctx, db, func(source string, err error) {
		fmt.Fprintf(w.stderr, "rollcall: the changes of source %s count by their version: %v\n", source, err)
	})
	p := pipeline.New(pipeline.Config{Apply: db.Apply, Apart: db.Signal})
	p.Start()
	return &worker{db, p, db.StartWatch(ctx)}, nil
}

// stop waits for what is under way.
func (o *worker) stop() {
	ctx, cancel := context.WithTimeout(context.Background(), drainTimeout)
	defer cancel()
	o.pipeline.Shutdown(ctx)
	o.unwatch()
	closeSoon(o.db)
}
