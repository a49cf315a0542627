package main

import (
	"github.com/spf13/cobra"

	"rollcall/internal/cli"
	"rollcall/internal/target"
)

const completionHelp = `Prints a script that lets a shell complete commands, flags, and the names of
sources and targets, which it reads from the configuration. To use it:

  bash  source <(rollcall completion bash)      in ~/.bashrc
  zsh   source <(rollcall completion zsh)       in ~/.zshrc, after compinit
  fish  rollcall completion fish > ~/.config/fish/completions/rollcall.fish

In bash it needs the package bash-completion.`

func newCompletion(env cli.Env) *cobra.Command {
	shells := []string{"bash", "zsh", "fish"}
	return &cobra.Command{
		Use:       "completion bash|zsh|fish",
		Short:     "Prints a script that completes command lines",
		Long:      completionHelp,
		ValidArgs: shells,
		Args:      cli.OneArg("shell", 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			root := cmd.Root()
			switch args[0] {
			case "bash":
				return root.GenBashCompletionV2(env.Stdout, true)
			case "zsh":
				return root.GenZshCompletion(env.Stdout)
			case "fish":
				return root.GenFishCompletion(env.Stdout, true)
			}
			return cli.Usagef("there is no completion for %q%s", args[0], cli.DidYouMean(target.Nearest(args[0], shells)))
		},
	}
}
