package main

import (
	"encoding/json"
	"fmt"
	"io"

	"github.com/spf13/cobra"
)

// output is the flag --output: how a command shows its result.
type output struct{ format string }

func addOutputFlag(cmd *cobra.Command) *output {
	o := &output{}
	cmd.Flags().StringVar(&o.format, "output", "text", "text for people, json for programs")
	return o
}

// json reports whether programs read the result.
func (o *output) json() (bool, error) {
	switch o.format {
	case "text", "json":
		return o.format == "json", nil
	default:
		return false, errUsage{fmt.Errorf("--output is text or json, not %q", o.format)}
	}
}

func writeJSON(w io.Writer, value any) error {
	encoder := json.NewEncoder(w)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", "  ")
	return encoder.Encode(value)
}
