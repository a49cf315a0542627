package main

import (
	"encoding/json"
	"errors"
	"io"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"rollcall/internal/event"
)

// output is the value of --output: text for people, json for programs.
type output string

// Set implements pflag.Value.
func (o *output) Set(value string) error {
	if value != "text" && value != "json" {
		return errors.New("must be text or json")
	}
	*o = output(value)
	return nil
}

func (o *output) String() string { return string(*o) }

// Type implements pflag.Value.
func (*output) Type() string { return "format" }

// addOutput gives a command the flag --output.
func addOutput(cmd *cobra.Command) *output {
	o := output("text")
	cmd.Flags().VarP(&o, "output", "o", "text, or json for programs")
	return &o
}

// write prints a value as indented JSON, or what text writes: tabs between its cells become
// columns.
func (o *output) write(to io.Writer, value any, text func(io.Writer) error) error {
	to = event.PrintableTo(to)
	if *o == "json" {
		encoder := json.NewEncoder(to)
		encoder.SetEscapeHTML(false)
		encoder.SetIndent("", "  ")
		return encoder.Encode(value)
	}
	table := tabwriter.NewWriter(to, 0, 0, 2, ' ', 0) // two spaces between columns
	if err := text(table); err != nil {
		return err
	}
	return table.Flush()
}
