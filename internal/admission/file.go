package admission

import (
	"bytes"
	"strings"
	"unicode/utf8"
)

// Mistake is a line of a file that is no domain; lines count from 1.
type Mistake struct {
	Line, Column int
	What         string
}

// ReadFile reads a file of domains, one on each line; # begins a comment.
func ReadFile(data []byte) (domains []string, mistakes []Mistake) {
	data = bytes.TrimPrefix(data, []byte("\ufeff"))
	number := 0
	for line := range strings.Lines(string(data)) {
		number++
		text, _, _ := strings.Cut(line, "#")
		column := len(text) - len(strings.TrimLeft(text, " \t")) + 1
		text = strings.TrimSpace(text)
		if text == "" {
			continue
		}
		complaint := Complaint(text)
		if !utf8.ValidString(text) {
			complaint = "is no UTF-8; save the file as UTF-8"
		}
		if complaint != "" {
			mistakes = append(mistakes, Mistake{number, column, complaint})
			continue
		}
		domains = append(domains, text)
	}
	return domains, mistakes
}
