package main

import (
	"github.com/spf13/cobra"

	"rollcall/internal/cli"
	"rollcall/internal/demo"
	"rollcall/internal/terminal"
)

const demoHelp = `Starts a private PostgreSQL with the tables of three applications and a serve beside it, and
sends signed requests through its endpoint, as Supabase and Clerk would. Shows each request with
its outcome, and the tables as they change: a new row is marked +, a changed one ~, a removed one -. An endpoint of its own
prints the notifications that it gets.

Then it stays, with slow traffic, until Ctrl-C. It prints two commands for another terminal:
sh …/join signs a user up, sh …/look shows the roll. A request that the demo has not sent itself
begins with you: on the screen.

Nothing is installed and nothing stays behind. PostgreSQL is the one of this machine. Where there
is none, a checkout of Rollcall downloads one, with Go. The demo does not run on Windows.`

func newDemo(env cli.Env) *cobra.Command {
	var once bool
	cmd := &cobra.Command{
		Use:   "demo",
		Short: "Shows Rollcall at work, on a private PostgreSQL",
		Long:  demoHelp,
		Args:  cli.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return demo.Run(cmd.Context(), demo.Options{
				Out: env.Stdout, Version: buildVersion(), Once: once,
				Colours: terminal.Colours(env.Stdout, env.Getenv),
			})
		},
	}
	cmd.Flags().BoolVar(&once, "once", false, "end after the story")
	return cmd
}
