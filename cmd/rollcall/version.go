package main

import (
	"fmt"
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"

	"rollcall/internal/cli"
)

// version is set by the linker in a release.
var version string

// buildVersion is the release, else what the build information knows.
func buildVersion() string {
	info, _ := debug.ReadBuildInfo()
	return versionOf(version, info)
}

// versionOf is the release, else the module's version, else the commit. Go gives a checkout a module version
// of its own, which holds the commit, unless it builds without -buildvcs.
func versionOf(release string, info *debug.BuildInfo) string {
	if release != "" || info == nil {
		return orUnknown(release)
	}
	if v := info.Main.Version; v != "" && v != "(devel)" {
		return v
	}
	settings := map[string]string{}
	for _, s := range info.Settings {
		settings[s.Key] = s.Value
	}
	commit := settings["vcs.revision"]
	if settings["vcs.modified"] == "true" {
		commit += "+dirty"
	}
	return orUnknown(commit)
}

func orUnknown(v string) string {
	if v == "" {
		return "unknown"
	}
	return v
}

// versionLine is what the command version and the flag --version print.
func versionLine() string {
	return fmt.Sprintf("rollcall %s %s %s/%s\n", buildVersion(), runtime.Version(), runtime.GOOS, runtime.GOARCH)
}

func newVersion(env cli.Env) *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Prints the version",
		Args:  cli.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			_, err := fmt.Fprint(env.Stdout, versionLine())
			return err
		},
	}
}
