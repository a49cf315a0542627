//go:build unix

package main

import (
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// columns is how wide the terminal of the picture is.
const columns = 96

// scenes are those of the demo's story that the picture shows: a sign-up for two applications, one for
// a third, a repetition, a late event, a row that a table refuses, its end, and a forged request.
var scenes = []int{2, 3, 7, 8, 9, 10, 13}

// cell is a character with its style, which is a class of the picture.
type cell struct {
	char  rune
	class string
}

// line is a line of the terminal.
type line []cell

func (l line) String() string {
	var text strings.Builder
	for _, c := range l {
		text.WriteRune(c.char)
	}
	return text.String()
}

// plain is a line in one style.
func plain(text, class string) line {
	var l line
	for _, char := range text {
		l = append(l, cell{char, class})
	}
	return l
}

var escape = regexp.MustCompile(`\x1b\[([0-9]*)m`)

// classes are the styles by their codes (ECMA-48, SGR).
var classes = map[string]string{"1": "bold", "2": "dim", "31": "red", "32": "green", "33": "yellow", "36": "cyan"}

// parse reads what was written to a terminal.
func parse(printed string) []line {
	var lines []line
	for text := range strings.Lines(printed) {
		var l line
		text = strings.TrimRight(text, "\n")
		class := ""
		for text != "" {
			at := escape.FindStringSubmatchIndex(text)
			if at == nil {
				l = append(l, plain(text, class)...)
				break
			}
			l = append(l, plain(text[:at[0]], class)...)
			class, text = classes[text[at[2]:at[3]]], text[at[1]:]
		}
		lines = append(lines, l)
	}
	return lines
}

var sceneLine = regexp.MustCompile(`^ *([0-9]+)\. `)

// choose keeps the scenes of the picture, and says where some are left out.
func choose(lines []line) []line {
	shown := []line{append(plain("$ ", "dim"), plain("rollcall demo", "bold")...)}
	number, last := 0, 0
	for _, l := range lines {
		if m := sceneLine.FindStringSubmatch(l.String()); m != nil {
			number, _ = strconv.Atoi(m[1]) // digits
			if slices.Contains(scenes, number) {
				if number != last+1 {
					shown = append(shown, plain("    ⋮", "dim"))
				}
				shown, last = append(shown, nil), number
			}
		} else if len(l) > 0 && l[0].char != ' ' { // the story is told
			number = 0
		}
		if slices.Contains(scenes, number) && len(l) > 0 {
			shown = append(shown, wrap(l)...)
		}
	}
	if last == 0 {
		return nil
	}
	return shown
}

// wrap breaks a line between words where the terminal ends.
func wrap(l line) []line {
	indent := strings.Repeat(" ", max(4, len(l)-len(strings.TrimLeft(l.String(), " "))))
	var lines []line
	for len(l) > columns {
		end := columns
		for end > len(indent)+1 && l[end].char != ' ' {
			end--
		}
		if end <= len(indent)+1 { // a word that is wider than the terminal
			end = columns
		}
		rest := l[end:]
		for len(rest) > 0 && rest[0].char == ' ' {
			rest = rest[1:]
		}
		lines, l = append(lines, l[:end]), append(plain(indent, ""), rest...)
	}
	return append(lines, l)
}
