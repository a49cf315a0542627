// Package terminal hides what a terminal shows: 80 columns, and colours unless NO_COLOR is set.
//
//	if terminal.Is(os.Stderr) { … }
//	fmt.Println(terminal.Fold(text))
package terminal

import (
	"io"
	"os"
	"regexp"
	"strings"
	"unicode/utf8"

	"golang.org/x/term"
)

// Width is how many columns a line may take.
const Width = 80

// Is reports whether a person may be looking.
func Is(to io.Writer) bool {
	file, ok := to.(*os.File)
	return ok && term.IsTerminal(int(file.Fd()))
}

// IsFile reports whether a person may be typing.
func IsFile(from *os.File) bool { return term.IsTerminal(int(from.Fd())) }

// Colours reports whether what is written may be coloured: https://no-color.org.
func Colours(to io.Writer, getenv func(string) string) bool {
	return getenv("NO_COLOR") == "" && getenv("TERM") != "dumb" && Is(to)
}

// Fold breaks lines beyond the width between words. Lines that begin without a blank are one paragraph, which
// is filled anew. Others keep their breaks; what does not fit goes on below the second column, or the text.
func Fold(text string) string {
	var out, paragraph []string
	end := func() {
		if len(paragraph) > 0 {
			out = append(out, Fill(strings.Join(paragraph, " "), 0)...)
			paragraph = nil
		}
	}
	for line := range strings.SplitSeq(text, "\n") {
		switch {
		case line == "":
			end()
			out = append(out, line)
		case line[0] == ' ':
			end()
			out = append(out, Fill(line, utf8.RuneCountInString(columns.FindString(line)))...)
		default:
			paragraph = append(paragraph, line)
		}
	}
	end()
	return strings.Join(out, "\n")
}

// columns finds the beginning of a line up to its text: the blanks, and a first column, which ends with two
// blanks or a colon.
var columns = regexp.MustCompile(`^(?: {1,4}\S+(?: \S+)*?(?: {2,}|: +)| *)`)

// Fill breaks one text into lines of the width; those after the first begin with blanks, indent of them. A word
// that is longer stays whole.
func Fill(text string, indent int) []string {
	var lines []string
	for utf8.RuneCountInString(text) > Width {
		at := breakAt(text, indent)
		if at < 0 {
			break
		}
		lines = append(lines, strings.TrimRight(text[:at], " "))
		text = strings.Repeat(" ", indent) + strings.TrimLeft(text[at:], " ")
	}
	return append(lines, text)
}

// breakAt is where to break a text: the last blank within the width, else the first one; -1 where there is none.
func breakAt(text string, indent int) int {
	at, columns := -1, 0
	for i, r := range text {
		if r == ' ' && columns > indent {
			if columns > Width && at >= 0 {
				break
			}
			at = i
		}
		columns++
	}
	return at
}
