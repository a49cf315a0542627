package cli

import (
	"encoding/json"
	"errors"
	"io"
	"strconv"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"rollcall/internal/event"
)

// Output is the value of --output: text for people, json for programs.
type Output string

// Set implements pflag.Value.
func (o *Output) Set(value string) error {
	if value != "text" && value != "json" {
		return errors.New("must be text or json")
	}
	*o = Output(value)
	return nil
}

func (o *Output) String() string { return string(*o) }

// Type implements pflag.Value.
func (*Output) Type() string { return "format" }

// AddOutput gives a command the flag --output.
func AddOutput(cmd *cobra.Command) *Output {
	o := Output("text")
	cmd.Flags().VarP(&o, "output", "o", "text, or json for programs")
	return &o
}

// Write prints a value as indented JSON, or what text writes: tabs between its cells become
// columns.
func (o *Output) Write(to io.Writer, value any, text func(io.Writer) error) error {
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

// Grouped writes 1234567 as 1,234,567.
func Grouped(n int64) string {
	text := strconv.FormatInt(n, 10)
	for at := len(text) - 3; at > 0; at -= 3 {
		text = text[:at] + "," + text[at:]
	}
	return text
}
