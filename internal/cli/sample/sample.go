// Package sample has the commands that make signed events: send, sign and load.
package sample

import (
	"github.com/spf13/cobra"

	"rollcall/internal/cli"
	"rollcall/internal/testevent"
)

// Commands are the commands of this package.
func Commands(env cli.Env) []*cobra.Command {
	return []*cobra.Command{newSend(env), newSign(env), newLoad(env)}
}

// events completes SOURCE EVENT|FILE.
func events(env cli.Env) cobra.CompletionFunc {
	return func(cmd *cobra.Command, args []string, typed string) ([]string, cobra.ShellCompDirective) {
		if len(args) != 1 {
			return env.Named(cli.SourceNames)(cmd, args, typed)
		}
		for _, s := range env.Glance(cmd).Sources {
			if s.Name == args[0] {
				return testevent.Names(s.Provider), cobra.ShellCompDirectiveDefault
			}
		}
		return nil, cobra.ShellCompDirectiveDefault
	}
}
