//go:build bench

// Package page writes figures into a document that people have written:
//
//	err := page.Write("docs/benchmark.md", "bench", text)
package page

import (
	"fmt"
	"os"
	"strings"
)

// Write replaces what stands between the two marks of a part in a document; what
// people wrote around it stays.
func Write(file, part, text string) error {
	if file == "" {
		return nil
	}
	begin, end := "<!-- "+part+": begin, written by the program -->", "<!-- "+part+": end -->"
	old, err := os.ReadFile(file)
	if err != nil {
		return fmt.Errorf("read the document: %w", err)
	}
	before, rest, found := strings.Cut(string(old), begin)
	_, after, closed := strings.Cut(rest, end)
	if !found || !closed {
		return fmt.Errorf("%s has no lines %q and %q to write between", file, begin, end)
	}
	if err := os.WriteFile(file, []byte(before+begin+"\n\n"+text+"\n"+end+after), 0o600); err != nil {
		return fmt.Errorf("write the document: %w", err)
	}
	return nil
}
