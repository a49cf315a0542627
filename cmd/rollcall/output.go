package main

import (
	"encoding/json"
	"errors"
	"io"

	"github.com/spf13/pflag"
)

// format is how a command prints its results: text for people, json for programs.
type format string

// addOutput adds the flag --output.
func addOutput(flags *pflag.FlagSet, f *format) {
	*f = "text"
	flags.Var(f, "output", "text for people, json for programs")
}

// Set implements pflag.Value.
func (f *format) Set(value string) error {
	if value != "text" && value != "json" {
		return errors.New("must be text or json")
	}
	*f = format(value)
	return nil
}

// String implements pflag.Value.
func (f *format) String() string { return string(*f) }

// Type implements pflag.Value.
func (f *format) Type() string { return "text|json" }

func (f *format) json() bool { return *f == "json" }

// printJSON writes a value for programs.
func printJSON(to io.Writer, value any) error {
	e := json.NewEncoder(to)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	return e.Encode(value)
}
