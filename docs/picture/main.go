//go:build unix

// Command picture draws the README's picture, docs/demo.svg, from a run of the demo. It hides
// how a terminal's text becomes an SVG:
//
//	go run ./docs/picture
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"strings"

	"rollcall/internal/demo"
)

func main() {
	file := flag.String("o", "docs/demo.svg", "the file that is written")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	err := write(ctx, *file)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "picture:", err)
		os.Exit(1)
	}
}

func write(ctx context.Context, file string) error {
	picture, err := draw(ctx)
	if err != nil {
		return err
	}
	return os.WriteFile(file, []byte(picture), 0o600)
}

// draw runs the demo and returns its picture.
func draw(ctx context.Context) (string, error) {
	var printed strings.Builder
	if err := demo.Run(ctx, demo.Options{Out: &printed, Colours: true, Once: true}); err != nil {
		return "", fmt.Errorf("run the demo: %w", err)
	}
	if err := ctx.Err(); err != nil { // then it has told a part of its story only
		return "", err
	}
	lines := choose(parse(printed.String()))
	if len(lines) == 0 {
		return "", fmt.Errorf("the demo printed none of the scenes %v", scenes)
	}
	return svg(lines), nil
}
