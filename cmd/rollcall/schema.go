package main

import (
	"github.com/spf13/cobra"

	"rollcall/internal/config"
)

const schemaHelp = `Prints the JSON Schema of the configuration file. Editors with the YAML language
server complete and check a file that begins with

  # yaml-language-server: $schema=rollcall.schema.json

where rollcall.schema.json, beside the file, is what this command prints.`

func newSchema(w environment) *cobra.Command {
	return &cobra.Command{
		Use:   "schema",
		Short: "Prints the JSON Schema of the configuration",
		Long:  schemaHelp,
		Args:  noArgs,
		RunE: func(*cobra.Command, []string) error {
			text, err := config.Schema()
			if err != nil {
				return err
			}
			_, err = w.stdout.Write(text)
			return err
		},
	}
}
