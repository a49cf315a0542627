package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"rollcall/internal/app"
	"rollcall/internal/cli"
	"rollcall/internal/config"
	"rollcall/internal/postgres"
	"rollcall/internal/postgres/outbox"
)

func newCapture(env cli.Env) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "capture",
		Short: "Notes every change of Supabase's users by a trigger",
		Args:  cli.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			return cli.Usagef("name what to do: rollcall capture install, status or remove")
		},
	}
	var printOnly bool
	install := captureCommand(env, "install", "Creates the trigger and what lets Rollcall read the users",
		func(ctx context.Context, env cli.Env, db *postgres.DB, c outbox.Capture) error {
			if printOnly {
				_, err := fmt.Fprint(env.Stdout, db.Outbox().ByHand(c))
				return err
			}
			return installCapture(ctx, env, db, c)
		})
	install.Flags().BoolVar(&printOnly, "print", false, "print the SQL for a role that may run it, on Supabase in the SQL editor, and change nothing")
	cmd.AddCommand(install,
		captureCommand(env, "status", "Says whether it works and what waits; exits 1 if it does not", captureStatus),
		captureCommand(env, "remove", "Drops the trigger; what it has noted is still applied", removeCapture))
	return cmd
}

func installCapture(ctx context.Context, env cli.Env, db *postgres.DB, c outbox.Capture) error {
	if err := db.Migrated(ctx); err != nil {
		return err
	}
	if err := db.Outbox().Install(ctx, c); err != nil {
		return err
	}
	_, err := fmt.Fprintf(env.Stdout, "changes of %s are captured for source %s; a running rollcall serve applies them within 5 s from now, and then at once\n", c.Table, c.Source)
	return err
}

func removeCapture(ctx context.Context, env cli.Env, db *postgres.DB, c outbox.Capture) error {
	if err := db.Migrated(ctx); err != nil {
		return err
	}
	if err := db.Outbox().Remove(ctx, c); err != nil {
		return err
	}
	_, err := fmt.Fprintf(env.Stdout, "changes of %s are no longer captured\n", c.Table)
	return err
}

type captureAction func(context.Context, cli.Env, *postgres.DB, outbox.Capture) error

// captureCommand is one of capture's commands; do is about the source that is named, or the
// only one there is.
func captureCommand(env cli.Env, name, short string, do captureAction) *cobra.Command {
	return &cobra.Command{
		Use:               name + " [SOURCE]",
		Short:             short,
		Args:              cli.OneArg("source", 0),
		ValidArgsFunction: env.Named(supabaseNames),
		RunE: func(cmd *cobra.Command, args []string) error {
			s, err := env.Load(cmd)
			if err != nil {
				return err
			}
			c, err := pickCapture(s, args)
			if err != nil {
				return err
			}
			return env.OnDatabase(s, func(db *postgres.DB) error { return do(cmd.Context(), env, db, c) })
		},
	}
}

// pickCapture picks the source to capture.
func pickCapture(s *app.Setup, args []string) (outbox.Capture, error) {
	all := s.Captures()
	if len(args) > 0 {
		i := slices.IndexFunc(all, func(c outbox.Capture) bool { return c.Source == args[0] })
		if i < 0 {
			return outbox.Capture{}, noCapture(s, args[0])
		}
		return all[i], nil
	}
	switch len(all) {
	case 0:
		return outbox.Capture{}, cli.Usagef("the configuration has no source with provider: supabase; only such a source has a capture")
	case 1:
		return all[0], nil
	}
	return outbox.Capture{}, cli.Usagef("name a source: %s and %s are Supabase's", all[0].Source, all[1].Source)
}

// noCapture says why a source can't be captured.
func noCapture(s *app.Setup, name string) error {
	src, err := s.Source(name)
	switch {
	case err != nil:
		return err
	case src.Provider() != config.Supabase:
		return cli.Usagef("source %s is %s's, whose users are in no database of yours; only Supabase's can be captured", name, src.Provider())
	}
	return cli.Usagef("source %s has users_table: none; what a trigger notes is read from the table: remove users_table, or name the table", name)
}

// lateAfter is how long a change may wait before something is wrong.
const lateAfter = 10 * time.Second

func captureStatus(ctx context.Context, env cli.Env, db *postgres.DB, c outbox.Capture) error {
	if err := db.Migrated(ctx); err != nil {
		return err
	}
	state, err := db.Outbox().State(ctx, c)
	if err != nil {
		return err
	}
	waits := "nothing waits"
	if state.Waiting > 0 {
		waits = fmt.Sprintf("%d changes wait, the oldest for %s", state.Waiting, time.Since(state.Oldest).Round(time.Second))
	}
	_, unread := db.Directory().Users(ctx, c.Source, c.Table)
	rows := "can be read"
	if unread != nil {
		rows = "can't be read"
	}
	if _, err := fmt.Fprintf(env.Stdout, "source   %s\ntable    %s\nrows     %s\ntrigger  %s\noutbox   %s\n", c.Source, c.Table, rows, sayTrigger(state), waits); err != nil {
		return err
	}
	switch {
	case state.For == "":
		return fmt.Errorf("nothing is captured; run: rollcall capture install %s", c.Source)
	case !state.Installed:
		return fmt.Errorf("the trigger does not fire; run: rollcall capture remove %[1]s, then rollcall capture install %[1]s", c.Source)
	case state.For != c.Source:
		return fmt.Errorf("the trigger is for source %[1]s; run: rollcall capture remove %[2]s, then rollcall capture install %[2]s", state.For, c.Source)
	case unread != nil && !state.Old:
		return fmt.Errorf("changes wait until the rows can be read: %w", unread)
	case state.Waiting > 0 && time.Since(state.Oldest) > lateAfter:
		return errors.New("no serve empties the outbox; start rollcall serve, or see in its log why it does not")
	}
	return nil
}

func sayTrigger(state outbox.State) string {
	said := "installed"
	switch {
	case state.For == "":
		said = "not installed"
	case !state.Installed:
		said = "disabled"
	}
	if state.Old {
		said += ", of an older version: run rollcall capture install"
	}
	return said
}

// supabaseNames are the sources that can be captured.
func supabaseNames(cfg *config.Config) []string {
	var names []string
	for _, s := range cfg.Sources {
		if s.Provider == config.Supabase {
			names = append(names, s.Name)
		}
	}
	return names
}
