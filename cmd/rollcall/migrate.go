package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"rollcall/internal/app"
	"rollcall/internal/postgres"
	"rollcall/internal/target"
	"rollcall/sql"
)

func newMigrate(w environment) *cobra.Command {
	var printOnly, all bool
	cmd := &cobra.Command{
		Use:   "migrate",
		Short: "Brings the schema rollcall up to date",
		Args:  noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if all && !printOnly {
				return usagef("--all goes with --print")
			}
			s, err := load(cmd, w)
			if err != nil {
				return err
			}
			return onDatabase(w, s, func(db *postgres.DB) error {
				if printOnly {
					if err := printMigrations(cmd.Context(), w, db, all); err != nil {
						return err
					}
					return printTargets(cmd.Context(), w, s, db)
				}
				return migrate(cmd.Context(), w, db)
			})
		},
	}
	cmd.Flags().BoolVar(&printOnly, "print", false,
		"print the migrations that would run and every target's statements, change nothing")
	cmd.Flags().BoolVar(&all, "all", false, "with --print: also the migrations that have run")
	return cmd
}

func migrate(ctx context.Context, w environment, db *postgres.DB) error {
	finish := waiting(w, "migrating")
	ran, err := db.Migrate(ctx)
	finish()
	if err != nil {
		return err
	}
	if len(ran) == 0 {
		_, err = fmt.Fprintln(w.stdout, "the schema rollcall is up to date")
		return err
	}
	_, err = fmt.Fprintf(w.stdout, "ran %s\n", strings.Join(ran, ", "))
	return err
}

// printMigrations shows the migrations that would run, or all of them.
func printMigrations(ctx context.Context, w environment, db *postgres.DB, all bool) error {
	list, err := db.Pending(ctx)
	if err != nil {
		return err
	}
	if all {
		list = sql.Migrations()
	}
	for _, m := range list {
		if _, err := fmt.Fprintf(w.stdout, "-- migration %s\n%s\n", m.Name, m.SQL); err != nil {
			return err
		}
	}
	if len(list) == 0 {
		_, err = fmt.Fprint(w.stdout,
			"-- the schema rollcall is up to date: no migration would run; --all prints those that have\n\n")
	}
	return err
}

// printTargets shows what runs at every batch. The statements depend on the types in the catalog, so the
// database is asked; nothing stays changed there.
func printTargets(ctx context.Context, w environment, s *app.Setup, db *postgres.DB) error {
	finish := waiting(w, "checking the targets")
	findings, err := db.Preview(ctx)
	finish()
	if err != nil {
		return fmt.Errorf("the statements of the targets need the database: %w", err)
	}
	for _, t := range s.Targets {
		for _, statement := range db.Targets().Statements(t.Name) {
			if _, err := fmt.Fprintf(w.stdout, "-- target %s: $1 sources, $2 user ids, $3 whether the users are locked\n%s;\n\n", t.Name, statement); err != nil {
				return err
			}
		}
	}
	for _, f := range findings {
		if f.Severity == target.Warning {
			w.complain("warning: %s", f)
		}
	}
	return join(target.Faults(findings))
}

// join makes one error of findings.
func join(findings []target.Finding) error {
	var all []error
	for _, f := range findings {
		all = append(all, errors.New(f.String()))
	}
	return errors.Join(all...)
}
