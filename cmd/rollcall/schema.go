package main

import (
	"github.com/spf13/cobra"

	"rollcall/internal/cli"
	"rollcall/internal/config"
)

const schemaHelp = `Prints the JSON Schema of the configuration file. Editors with the YAML language
server complete and check a file that begins with

  # yaml-language-server: $schema=rollcall.schema.json

where rollcall.schema.json, beside the file, is what this command prints.`

func newSchema(env cli.Env) *cobra.Command {
	return &cobra.Command{
		Use:   "schema",
		Short: "Prints the JSON Schema of the configuration",
		Long:  schemaHelp,
		Args:  cli.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			text, err := config.Schema()
			if err != nil {
				return err
			}
			_, err = env.Stdout.Write(text)
			return err
		},
	}
}
