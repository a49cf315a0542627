package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"time"

	"github.com/spf13/cobra"

	"rollcall/internal/app"
	"rollcall/internal/cli"
	"rollcall/internal/config"
	"rollcall/internal/event"
	"rollcall/internal/postgres/directory"
	"rollcall/internal/reconcile"
)

// reconcileOptions are the flags of reconcile.
type reconcileOptions struct {
	dryRun    bool
	limit     int
	touched   bool
	maxDelete string
	output    *cli.Output
}

func newReconcile(env cli.Env) *cobra.Command {
	var o reconcileOptions
	cmd := &cobra.Command{
		Use:   "reconcile SOURCE",
		Short: "Compares the roll with all users of a provider, and corrects it",
		Long: `Reads all users of the source (Supabase's from their table in this database, Clerk's from its
API), writes users that are missing in the roll or differ from it into the roll and every target, and
deletes users that no longer exist, after asking about each once more. It stops, and deletes no
user, if more would be deleted than max_delete allows. Clerk's organizations are compared in the
same way, and then its memberships; max_delete holds for each kind.

A run that was interrupted continues where it was, if it is started again within six hours.`,
		Args:              cli.OneArg("source", 1),
		ValidArgsFunction: env.Named(cli.SourceNames),
		RunE: func(cmd *cobra.Command, args []string) error {
			s, err := env.Load(cmd)
			if err != nil {
				return err
			}
			log := s.Logger(env.Stderr)
			cfg, err := s.Reconciliation(args[0], s.APIs(log))
			if err != nil {
				return err
			}
			cfg.Log = log
			if o.maxDelete != "" {
				if cfg.MaxDelete, err = config.Percent(o.maxDelete); err != nil {
					return cli.Usagef("--max-delete: %w", err)
				}
			}
			if o.dryRun {
				return previewReconciliation(cmd.Context(), env, s, reconciliation{cfg, o})
			}
			return runReconciliation(cmd.Context(), env, s, reconciliation{cfg, o})
		},
	}
	cmd.Flags().BoolVar(&o.dryRun, "dry-run", false, "print what differs, column by column, and write nothing")
	cmd.Flags().IntVar(&o.limit, "limit", 200, "with --dry-run: of how many rows to print what differs; all are counted")
	cmd.Flags().BoolVar(&o.touched, "touched", false,
		"with --dry-run: print also users that differ only in version, updated_at or last_sign_in_at")
	cmd.Flags().StringVar(&o.maxDelete, "max-delete", "", "share of each roll that this run may delete, such as 20% (default: max_delete of the source)")
	o.output = cli.AddOutput(cmd)
	return cmd
}

// reconciled is the result of a run for programs.
type reconciled struct {
	Source string `json:"source"`
	directory.Reconciled
	Seconds       float64          `json:"seconds"`
	DryRun        bool             `json:"dry_run,omitempty"`
	Error         string           `json:"error,omitempty"`
	Plans         []reconcile.Plan `json:"findings,omitempty"` // of a dry run, not of all users
	Organizations *reconciledRoll  `json:"organizations,omitempty"`
	Memberships   *reconciledRoll  `json:"memberships,omitempty"`
}

// reconciledRoll is what a run did about organisations, or about memberships.
type reconciledRoll struct {
	directory.Reconciled
	Plans []reconcile.Plan `json:"findings,omitempty"`
}

// add takes over what a run has counted, with the findings of each roll.
func (r *reconciled) add(t reconcile.Tally, plans []reconcile.Plan) {
	r.Reconciled = t.Reconciled
	by := map[*event.Roll][]reconcile.Plan{}
	for _, p := range plans {
		by[p.Roll] = append(by[p.Roll], p)
	}
	r.Plans = by[&event.Users]
	if t.Organizations != nil {
		r.Organizations = &reconciledRoll{*t.Organizations, by[&event.Organizations]}
	}
	if t.Memberships != nil {
		r.Memberships = &reconciledRoll{*t.Memberships, by[&event.Memberships]}
	}
}

// others are the rolls beside that of users, by name.
func (r *reconciled) others() iter.Seq2[string, *reconciledRoll] {
	return func(yield func(string, *reconciledRoll) bool) {
		if r.Organizations != nil && !yield(event.Organizations.Name, r.Organizations) {
			return
		}
		if r.Memberships != nil {
			yield(event.Memberships.Name, r.Memberships)
		}
	}
}

// reconciliation is what the command line asks for.
type reconciliation struct {
	cfg     reconcile.Config
	options reconcileOptions
}

func runReconciliation(ctx context.Context, env cli.Env, s *app.Setup, r reconciliation) error {
	cfg := r.cfg
	checked := env.Waiting("checking the targets")
	worker, err := s.StartWorker(ctx, cfg.Log, env.Complain)
	checked()
	if err != nil {
		return err
	}
	defer worker.Stop()
	show, finish := env.BarOfRolls("reconciling " + cfg.Source.Name())
	cfg.DB, cfg.Submit, cfg.Progress = worker.DB, worker.Submit, show
	start := time.Now()
	tally, err := reconcile.Run(ctx, cfg)
	finish()
	if err != nil && ctx.Err() != nil {
		err = errors.New("interrupted; run the same command again within six hours of its start to continue there")
	}
	result := reconciled{Source: cfg.Source.Name(), Seconds: time.Since(start).Seconds()}
	result.add(tally, nil)
	return errors.Join(err, result.print(env, r.options.output, err))
}

// print writes a result, and is an error where a row could not be followed.
func (r *reconciled) print(env cli.Env, out *cli.Output, cause error) error {
	if cause != nil {
		r.Error = cause.Error()
		if *out == "text" && r.Reconciled == (directory.Reconciled{}) {
			return nil // nothing was compared
		}
	}
	err := out.Write(env.Stdout, r, func(to io.Writer) error {
		_, err := fmt.Fprintf(to, "%s: %s, in %.1f s\n", r.Source, counted(r.Reconciled), r.Seconds)
		for name, other := range r.others() {
			_, more := fmt.Fprintf(to, "%s, %s: %s\n", r.Source, name, counted(other.Reconciled))
			err = errors.Join(err, more)
		}
		return err
	})
	failed := r.Failed
	for _, other := range r.others() {
		failed += other.Failed
	}
	if err == nil && failed > 0 && cause == nil {
		where := "the log says which and why"
		if r.DryRun {
			where = "they are listed as failed"
		}
		err = fmt.Errorf("the roll can't follow all rows (failed: %d); %s", failed, where)
	}
	return err
}

func counted(r directory.Reconciled) string {
	return fmt.Sprintf("created %d, updated %d, touched %d, deleted %d, unchanged %d, failed %d",
		r.Created, r.Updated, r.Touched, r.Deleted, r.Unchanged, r.Failed)
}

func previewReconciliation(ctx context.Context, env cli.Env, s *app.Setup, r reconciliation) error {
	cfg, o := r.cfg, r.options
	db, err := s.Open(cfg.Log)
	if err != nil {
		return err
	}
	defer app.CloseSoon(db)
	if err := db.Migrated(ctx); err != nil {
		return err
	}
	cfg.DB = db
	start := time.Now()
	finish := env.Waiting("comparing " + cfg.Source.Name())
	result := reconciled{Source: cfg.Source.Name(), DryRun: true}
	what, left, shown := "users", 0, map[bool]int{} // failed rows have a limit of their own: the others must not hide them
	var plans []reconcile.Plan
	tally, err := reconcile.Preview(ctx, cfg, func(found reconcile.Plan) error {
		finish()
		if found.Action == "touched" && !o.touched {
			return nil // after a quiet day they would be most of the list
		}
		failed := found.Action == "failed"
		if shown[failed] == o.limit {
			left++
			if found.Roll != &event.Users {
				what = "rows"
			}
			return nil
		}
		shown[failed]++
		plans = append(plans, found)
		if *o.output == "json" {
			return nil
		}
		return printPlan(env, found)
	})
	finish()
	result.Seconds = time.Since(start).Seconds()
	result.add(tally, plans)
	if *o.output == "text" {
		if left > 0 {
			fmt.Fprintf(env.Stdout, "… and %d %s more (--limit)\n", left, what)
		}
		if err == nil || result.Reconciled != (directory.Reconciled{}) {
			fmt.Fprintln(env.Stdout, "a dry run: nothing was written")
		}
	}
	return errors.Join(err, result.print(env, o.output, err))
}

func printPlan(env cli.Env, found reconcile.Plan) error {
	reason := ""
	if found.Reason != "" {
		reason = ": " + found.Reason
	}
	id := event.Printable(found.User + found.ID)
	if _, err := fmt.Fprintf(env.Stdout, "%s %s%s\n", found.Action, id, event.Printable(reason)); err != nil {
		return err
	}
	if found.Action == "created" {
		return nil // all of the user is new
	}
	for _, d := range found.Differences {
		roll, theirs := event.Printable(d.Roll), event.Printable(d.Theirs)
		if _, err := fmt.Fprintf(env.Stdout, "  %-20s %s -> %s\n", d.Column, roll, theirs); err != nil {
			return err
		}
	}
	return nil
}
