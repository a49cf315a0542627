package main

import (
	"github.com/spf13/cobra"

	"rollcall/internal/app"
)

func newServe(w environment) *cobra.Command {
	return &cobra.Command{
		Use:   "serve",
		Short: "Receives webhooks and keeps the targets in step",
		Args:  noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			s, err := load(cmd, w)
			if err != nil {
				return err
			}
			return app.Run(cmd.Context(), app.Options{Setup: s, Log: s.Logger(w.stderr), Version: buildVersion()})
		},
	}
}
