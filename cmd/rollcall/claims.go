package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"rollcall/internal/app"
	"rollcall/internal/cli"
	"rollcall/internal/config"
	"rollcall/internal/postgres"
	"rollcall/internal/postgres/tokens"
	"rollcall/internal/target"
)

const claimsHelp = `Supabase's auth server asks a function for the claims of each access token that it makes: a custom access
token hook. claims install makes one, which adds the claims that the configuration gives a source. It reads the roll and
the applications' tables; serve need not run. Choose it in Supabase's dashboard, under Authentication, Hooks.

Whatever goes wrong in it, a query that is too slow too, becomes a warning in PostgreSQL's log: the user signs in
without the added claims. After a change of claims in the configuration run claims install again.`

func newClaims(env cli.Env) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "claims",
		Short: "Adds claims to the access tokens of Supabase",
		Args:  cli.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			return cli.Usagef("name what to do: rollcall claims print, install, status or remove")
		},
	}
	show := claimsCommand(env, "print", "Prints the SQL of claims install, without a database", nil)
	show.RunE = func(cmd *cobra.Command, args []string) error {
		s, err := env.Load(cmd)
		if err != nil {
			return err
		}
		c, err := pickClaims(s, args)
		if err != nil {
			return err
		}
		_, err = fmt.Fprint(env.Stdout, tokens.Script(c))
		return err
	}
	install := claimsCommand(env, "install", "Creates the function, or replaces it", installClaims)
	install.Long = claimsHelp
	cmd.AddCommand(show, install,
		claimsCommand(env, "status", "Says whether the function is current; exits 1 if it is not", claimsStatus),
		claimsCommand(env, "remove", "Drops the function; take it out of the dashboard first", removeClaims))
	return cmd
}

type claimsAction func(context.Context, cli.Env, *postgres.DB, *target.Claims) error

// claimsCommand is one of the commands; do is about the source that is named, or the only one that has claims.
func claimsCommand(env cli.Env, name, short string, do claimsAction) *cobra.Command {
	return &cobra.Command{
		Use:               name + " [SOURCE]",
		Short:             short,
		Args:              cli.OneArg("source", 0),
		ValidArgsFunction: env.Named(claimsNames),
		RunE: func(cmd *cobra.Command, args []string) error {
			s, err := env.Load(cmd)
			if err != nil {
				return err
			}
			c, err := pickClaims(s, args)
			if err != nil {
				return err
			}
			return env.OnDatabase(s, func(db *postgres.DB) error {
				if err := db.Migrated(cmd.Context()); err != nil {
					return err
				}
				return do(cmd.Context(), env, db, c)
			})
		},
	}
}

func pickClaims(s *app.Setup, args []string) (*target.Claims, error) {
	all := s.Claims()
	if len(args) > 0 {
		if _, err := s.Source(args[0]); err != nil {
			return nil, err
		}
		all = slices.DeleteFunc(all, func(c target.Claims) bool { return c.Source != args[0] })
	}
	switch {
	case len(all) == 1:
		return &all[0], nil
	case len(all) > 1:
		return nil, cli.Usagef("name a source: %s and %s have claims", all[0].Source, all[1].Source)
	case len(args) > 0:
		return nil, cli.Usagef("source %s has no claims; add claims: {NAME: expression} to it", args[0])
	}
	return nil, cli.Usagef("no source of the configuration has claims; add claims: {NAME: expression} to one of Supabase's")
}

func installClaims(ctx context.Context, env cli.Env, db *postgres.DB, c *target.Claims) error {
	if err := tokensOf(db).Install(ctx, c); err != nil {
		return err
	}
	_, err := fmt.Fprintf(env.Stdout, "rollcall_api.%s adds to access tokens of source %s: %s\nchoose it in Supabase's dashboard: Authentication, Hooks, Customize Access Token\n",
		c.Function(), c.Source, strings.Join(claimNames(c), ", "))
	return err
}

func removeClaims(ctx context.Context, env cli.Env, db *postgres.DB, c *target.Claims) error {
	if err := tokensOf(db).Remove(ctx, c); err != nil {
		return err
	}
	_, err := fmt.Fprintf(env.Stdout, "rollcall_api.%s is dropped\n", c.Function())
	return err
}

func claimsStatus(ctx context.Context, env cli.Env, db *postgres.DB, c *target.Claims) error {
	state, err := tokensOf(db).State(ctx, c)
	if err != nil {
		return err
	}
	said, wrong := state.Said()
	if _, err := fmt.Fprintf(env.Stdout, "source    %s\nclaims    %s\nfunction  rollcall_api.%s\nstate     %s\n", c.Source, strings.Join(claimNames(c), ", "), c.Function(), said); err != nil {
		return err
	}
	if wrong {
		return errors.New("run: rollcall claims install " + c.Source)
	}
	return nil
}

func tokensOf(db *postgres.DB) tokens.Tokens { return tokens.Tokens{Pool: db.Pool()} }

func claimNames(c *target.Claims) []string {
	var names []string
	for _, a := range c.Set {
		names = append(names, a.Column)
	}
	return names
}

// claimsNames are the sources that have claims.
func claimsNames(cfg *config.Config) []string {
	var names []string
	for _, s := range cfg.Sources {
		if len(s.Claims) > 0 {
			names = append(names, s.Name)
		}
	}
	return names
}
