// Package testevent makes signed events as the providers would send them: built-in ones that tell the story of a
// made-up user, those of a file, or many of one kind at little cost. It posts them, too, or says with which command
// another machine does:
//
//	sample, _ := testevent.Find(src, "user.created")
//	request, err := testevent.Seal(src, sample.Endpoint, sample.Body(time.Now()))
//	answer, err := testevent.NewSender("http://127.0.0.1:8080").Post(ctx, request)
//
// It hides the bodies of the providers' events, and what has to differ between two of them. The signature itself is
// made by package source, which keeps the secrets.
package testevent

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"unicode/utf8"

	"rollcall/internal/event"
)

const (
	// maxArgument is below what Linux takes as one argument of a program, 128 KiB. Some
	// shells have printf as a program, where a byte takes up to four.
	maxArgument = 100_000
	// maxLine is below the longest line that shells take at a terminal: 1024 bytes with the
	// editor of busybox, 4096 where the terminal itself collects the line.
	maxLine = 900
)

// Curl returns a command that posts the request to a base URL, for any POSIX shell. A body that can't be an
// argument, or would not survive pasting, is written by printf. Pasted into another shell, no body becomes commands.
func (r Request) Curl(base string) string {
	var b strings.Builder
	body := string(r.Body)
	if !pasteable(body) {
		b.WriteString(printfs(r.Body) + " | \\\n")
	}
	fmt.Fprintf(&b, "curl -sS -i %s \\\n", quote(r.url(base)))
	for _, name := range slices.Sorted(maps.Keys(r.Header)) {
		for _, value := range r.Header[name] {
			fmt.Fprintf(&b, "  -H %s \\\n", quote(name+": "+value))
		}
	}
	if pasteable(body) {
		fmt.Fprintf(&b, "  --data-binary %s\n", quote(body))
	} else {
		b.WriteString("  --data-binary @-\n")
	}
	return b.String()
}

// printfs are the commands that print a body; fish takes one alone, too.
func printfs(body []byte) string {
	var all []string
	for piece := range slices.Chunk(body, maxArgument/4) {
		all = append(all, "printf "+quote(printfFormat(piece)))
	}
	if len(all) == 1 {
		return all[0]
	}
	return "{\n" + strings.Join(all, "\n") + "\n}"
}

// pasteable reports whether a body can stand in quotes on a command line. Even there terminals act on
// control characters, or show others out of order, curl takes what begins with @ for a file, fish takes
// a backslash before the closing quote for a part of the text, and csh acts on ! and ends the quotes with
// the line.
func pasteable(body string) bool {
	return len(body) <= maxArgument && utf8.ValidString(body) &&
		!strings.HasPrefix(body, "@") && !strings.ContainsAny(body, `\!`) && !strings.ContainsFunc(body, event.Unprintable)
}

// quote makes one word of a text. In single quotes nothing has a meaning but the single
// quote. A long text is broken between two quoted pieces, where the shell joins them.
func quote(text string) string {
	var b strings.Builder
	for {
		piece := text[:pieceLength(text)]
		b.WriteString("'" + strings.ReplaceAll(piece, "'", `'\''`) + "'")
		if text = text[len(piece):]; text == "" {
			return b.String()
		}
		b.WriteString("\\\n")
	}
}

// pieceLength is how much of a text fits into a line as quote writes it, in whole
// characters.
func pieceLength(text string) int {
	length := 0
	for at, r := range text {
		if r == '\'' {
			length += 3
		}
		if length += utf8.RuneLen(r); length > maxLine {
			return at
		}
	}
	return len(text)
}

// printfFormat spells any bytes in plain ASCII, as printf's format. A leading dash would
// be taken for an option.
func printfFormat(body []byte) string {
	var b strings.Builder
	for at, c := range body {
		switch {
		case c == '%':
			b.WriteString("%%")
		case c < ' ' || c > '~' || c == '\\' || c == '!' || c == '-' && at == 0:
			fmt.Fprintf(&b, `\%03o`, c)
		default:
			b.WriteByte(c)
		}
	}
	return b.String()
}
