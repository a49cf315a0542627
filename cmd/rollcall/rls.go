package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"rollcall/internal/cli"
	"rollcall/internal/postgres"
)

const rlsHelp = `Prints SQL for row security: helper functions in the schema rollcall_api, and a policy by which a user reads their
own row of the target's table; of memberships those of the user's organizations, too, and of organizations those that
the user is a member of. It turns row security on: roles without a policy of their own see no rows then. Look at it,
and run it as the table's owner who may create functions in rollcall_api.
Where row security would hide rows from Rollcall's own role, it prints none and exits 1.

Who asks is the claim sub of the token that PostgREST, and so Supabase, has verified; or, for a server of your own, who
it has named by select rollcall_api.be(ID) in the transaction.`

func newRLS(env cli.Env) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "rls",
		Short: "Lets users read their own rows, by row security",
		Args:  cli.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			return cli.Usagef("name what to do: rollcall rls print TARGET")
		},
	}
	var role string
	show := &cobra.Command{
		Use:               "print TARGET",
		Short:             "Prints the SQL of the helpers and the policy of a target's table",
		Long:              rlsHelp,
		Example:           "  rollcall rls print profiles\n  rollcall rls print team_members --role web_user",
		Args:              cli.OneArg("target", 1),
		ValidArgsFunction: env.Named(cli.TargetNames),
		RunE: func(cmd *cobra.Command, args []string) error {
			s, err := env.Load(cmd)
			if err != nil {
				return err
			}
			t, err := targetNamed(s, args[0])
			if err != nil {
				return err
			}
			return env.OnDatabase(s, func(db *postgres.DB) error {
				script, err := tokensOf(db).Policy(cmd.Context(), t, role)
				if err == nil {
					_, err = fmt.Fprint(env.Stdout, script)
				}
				return err
			})
		},
	}
	show.Flags().StringVar(&role, "role", "authenticated", "the role that reads for users")
	cmd.AddCommand(show)
	return cmd
}
