//go:build unix

package main

import (
	"fmt"
	"html"
	"strings"
)

// The measures of the picture, in its own pixels. A character of a monospaced font is about 0.6 em wide.
const (
	fontSize   = 13
	charWidth  = 7.8
	lineHeight = 18
	margin     = 20
)

// style has both schemes: the reader's browser chooses.
const style = `
    .frame { fill: #f6f8fa; stroke: #d0d7de }
    text { font: 13px ui-monospace, SFMono-Regular, Menlo, Consolas, "DejaVu Sans Mono", monospace; fill: #1f2328; white-space: pre }
    .bold { font-weight: bold }
    .dim { fill: #656d76 }
    .red { fill: #cf222e }
    .green { fill: #116329 }
    .yellow { fill: #7d4e00 }
    .cyan { fill: #0550ae }
    @media (prefers-color-scheme: dark) {
      .frame { fill: #0d1117; stroke: #30363d }
      text { fill: #e6edf3 }
      .dim { fill: #8d96a0 }
      .red { fill: #ff7b72 }
      .green { fill: #3fb950 }
      .yellow { fill: #d29922 }
      .cyan { fill: #79c0ff }
    }
`

// svg draws the lines as a terminal shows them.
func svg(lines []line) string {
	width := 2*margin + columns*fontSize*3/5
	height := 2*margin + len(lines)*lineHeight
	var out strings.Builder
	fmt.Fprintf(&out, `<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" viewBox="0 0 %[1]d %[2]d" role="img" xml:space="preserve">
  <title>rollcall demo</title>
  <style>%[3]s  </style>
  <rect class="frame" x="0.5" y="0.5" width="%[4]d" height="%[5]d" rx="8"/>
`, width, height, style, width-1, height-1)
	for n, l := range lines {
		y := margin + n*lineHeight + fontSize
		for at := 0; at < len(l); {
			end := at + 1
			for end < len(l) && l[end].class == l[at].class {
				end++
			}
			out.WriteString(span(l[at:end], at, y))
			at = end
		}
	}
	return out.String() + "</svg>\n"
}

// span draws characters of one style. Its length is given, so that columns stay in line in any font.
func span(l line, at, y int) string {
	text := l.String()
	blanks := len(text) - len(strings.TrimLeft(text, " "))
	text = strings.TrimSpace(text)
	if text == "" {
		return ""
	}
	class := ""
	if l[0].class != "" {
		class = fmt.Sprintf(` class="%s"`, l[0].class)
	}
	return fmt.Sprintf("  <text x=\"%.1f\" y=\"%d\" textLength=\"%.1f\" lengthAdjust=\"spacingAndGlyphs\"%s>%s</text>\n",
		margin+float64(at+blanks)*charWidth, y, float64(len([]rune(text)))*charWidth, class, html.EscapeString(text))
}
