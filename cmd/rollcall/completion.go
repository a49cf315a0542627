package main

import (
	"os"
	"slices"

	"github.com/spf13/cobra"

	"rollcall/internal/config"
	"rollcall/internal/target"
	"rollcall/internal/testevent"
)

const completionHelp = `Prints a script that lets a shell complete commands, flags, and the names of
sources and targets, which it reads from the configuration. To use it:

  bash  source <(rollcall completion bash)      in ~/.bashrc
  zsh   source <(rollcall completion zsh)       in ~/.zshrc, after compinit
  fish  rollcall completion fish > ~/.config/fish/completions/rollcall.fish

In bash it needs the package bash-completion.`

func newCompletion(w environment) *cobra.Command {
	shells := []string{"bash", "zsh", "fish"}
	return &cobra.Command{
		Use:       "completion bash|zsh|fish",
		Short:     "Prints a script that completes command lines",
		Long:      completionHelp,
		ValidArgs: shells,
		Args:      oneArg("shell", 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			root := cmd.Root()
			switch args[0] {
			case "bash":
				return root.GenBashCompletionV2(w.stdout, true)
			case "zsh":
				return root.GenZshCompletion(w.stdout)
			case "fish":
				return root.GenFishCompletion(w.stdout, true)
			}
			return usagef("there is no completion for %q%s", args[0], didYouMean(target.Nearest(args[0], shells)))
		},
	}
}

// named completes one argument with names that the configuration has. A shell would run $(…) in one.
func (w environment) named(names func(*config.Config) []string) cobra.CompletionFunc {
	return func(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
		if len(args) > 0 {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		known := slices.DeleteFunc(names(w.glance(cmd)), func(name string) bool { return !config.IsName(name) })
		return known, cobra.ShellCompDirectiveNoFileComp
	}
}

// events completes SOURCE EVENT|FILE.
func (w environment) events(cmd *cobra.Command, args []string, typed string) ([]string, cobra.ShellCompDirective) {
	if len(args) != 1 {
		return w.named(sourceNames)(cmd, args, typed)
	}
	for _, s := range w.glance(cmd).Sources {
		if s.Name == args[0] {
			return testevent.Names(s.Provider), cobra.ShellCompDirectiveDefault
		}
	}
	return nil, cobra.ShellCompDirectiveDefault
}

// glance reads as much of the configuration as can be understood: a shell that completes a line may lack
// its variables.
func (w environment) glance(cmd *cobra.Command) *config.Config {
	file, data, err := readConfig(cmd, w)
	if err != nil {
		return &config.Config{}
	}
	cfg, _ := config.Load(file, data, config.Env{Getenv: w.getenv, ReadFile: os.ReadFile})
	if cfg == nil {
		return &config.Config{}
	}
	return cfg
}

func sourceNames(cfg *config.Config) []string {
	var names []string
	for _, s := range cfg.Sources {
		names = append(names, s.Name)
	}
	return names
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

func targetNames(cfg *config.Config) []string {
	var names []string
	for _, t := range cfg.Targets {
		names = append(names, t.Name)
	}
	return names
}

// completeFlags gives what can follow --output.
func completeFlags(cmd *cobra.Command) {
	formats := cobra.FixedCompletions([]string{"text", "json"}, cobra.ShellCompDirectiveNoFileComp)
	if cmd.Flags().Lookup("output") != nil {
		_ = cmd.RegisterFlagCompletionFunc("output", formats) // fails for an unknown flag
	}
	for _, below := range cmd.Commands() {
		completeFlags(below)
	}
}
