package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"rollcall/internal/app"
	"rollcall/internal/cli"
	"rollcall/internal/postgres"
	"rollcall/internal/target"
	"rollcall/sql"
)

func newMigrate(env cli.Env) *cobra.Command {
	var printOnly, all bool
	cmd := &cobra.Command{
		Use:   "migrate",
		Short: "Brings the schema rollcall up to date",
		Args:  cli.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if all && !printOnly {
				return cli.Usagef("--all goes with --print")
			}
			s, err := env.Load(cmd)
			if err != nil {
				return err
			}
			return env.OnDatabase(s, func(db *postgres.DB) error {
				if printOnly {
					if err := printMigrations(cmd.Context(), env, db, all); err != nil {
						return err
					}
					return printTargets(cmd.Context(), env, s, db)
				}
				return migrate(cmd.Context(), env, db)
			})
		},
	}
	cmd.Flags().BoolVar(&printOnly, "print", false,
		"print the migrations that would run and every target's statements, change nothing")
	cmd.Flags().BoolVar(&all, "all", false, "with --print: also the migrations that have run")
	return cmd
}

func migrate(ctx context.Context, env cli.Env, db *postgres.DB) error {
	finish := env.Waiting("migrating")
	ran, err := db.Migrate(ctx)
	finish()
	if err != nil {
		return err
	}
	line := "the schema rollcall is up to date"
	if len(ran) > 0 {
		line = "ran " + strings.Join(ran, ", ")
	}
	if _, err = fmt.Fprintln(env.Stdout, line); err != nil {
		return err
	}
	finish = env.Waiting("building indexes of rollcall.events")
	built, err := db.BuildIndexes(ctx)
	finish()
	if len(built) > 0 {
		fmt.Fprintf(env.Stdout, "built %s\n", strings.Join(built, ", "))
	}
	return err
}

// printMigrations shows the migrations that would run, or all of them.
func printMigrations(ctx context.Context, env cli.Env, db *postgres.DB, all bool) error {
	list, err := db.Pending(ctx)
	if err != nil {
		return err
	}
	if all {
		list = sql.Migrations()
	}
	for _, m := range list {
		if _, err := fmt.Fprintf(env.Stdout, "-- migration %s\n%s\n", m.Name, m.SQL); err != nil {
			return err
		}
	}
	if len(list) == 0 {
		_, err = fmt.Fprint(env.Stdout,
			"-- the schema rollcall is up to date: no migration would run; --all prints those that have\n\n")
	}
	return err
}

// printTargets shows what runs at every batch. The statements depend on the types in the catalog, so the
// database is asked; nothing stays changed there.
func printTargets(ctx context.Context, env cli.Env, s *app.Setup, db *postgres.DB) error {
	finish := env.Waiting("checking the targets")
	findings, err := db.Preview(ctx)
	finish()
	if err != nil {
		return fmt.Errorf("the statements of the targets need the database: %w", err)
	}
	for _, t := range s.Targets {
		for _, statement := range db.Targets().Statements(t.Name) {
			if _, err := fmt.Fprintf(env.Stdout, "-- target %s: $1 sources, $2 user ids, $3 whether the users are locked\n%s;\n\n", t.Name, statement); err != nil {
				return err
			}
		}
	}
	for _, f := range findings {
		if f.Severity == target.Warning {
			env.Complain("warning: %s", f)
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
