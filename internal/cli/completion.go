package cli

import (
	"slices"

	"github.com/spf13/cobra"

	"rollcall/internal/config"
)

// Named completes one argument with names that the configuration has. A shell would run $(…) in one.
func (env Env) Named(names func(*config.Config) []string) cobra.CompletionFunc {
	return func(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
		if len(args) > 0 {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		known := slices.DeleteFunc(names(env.Glance(cmd)), func(name string) bool { return !config.IsName(name) })
		return known, cobra.ShellCompDirectiveNoFileComp
	}
}

// SourceNames are the sources of a configuration.
func SourceNames(cfg *config.Config) []string {
	var names []string
	for _, s := range cfg.Sources {
		names = append(names, s.Name)
	}
	return names
}

// TargetNames are the targets of a configuration.
func TargetNames(cfg *config.Config) []string {
	var names []string
	for _, t := range cfg.Targets {
		names = append(names, t.Name)
	}
	return names
}

// CompleteFlags gives what can follow --output, of a command and those below it.
func CompleteFlags(cmd *cobra.Command) {
	formats := cobra.FixedCompletions([]string{"text", "json"}, cobra.ShellCompDirectiveNoFileComp)
	if cmd.Flags().Lookup("output") != nil {
		_ = cmd.RegisterFlagCompletionFunc("output", formats) // fails for an unknown flag
	}
	for _, below := range cmd.Commands() {
		CompleteFlags(below)
	}
}
