//go:build bench

// Bench measures Rollcall beside what people write instead of it and beside PostgreSQL's
// own limit, and writes the result to docs/benchmark.md. Everything runs on one machine: the
// candidates as processes of their own, the load generator in this one, and a private
// PostgreSQL whose commits survive a crash. A figure is a ratio of two things measured in
// the same round.
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime/debug"
	"strings"
	"syscall"
	"time"

	"rollcall/bench/relay"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:], os.Stdout)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// options are the command line, and where the findings are printed.
type options struct {
	out       io.Writer
	document  string
	rounds    int
	window    time.Duration
	warm      time.Duration
	long      bool
	minutes   int
	only      string
	million   int
	profileTo string
	try       string
	against   string
	notify    string
	deliver   bool
	scale     string
	far       bool
}

func run(ctx context.Context, args []string, out io.Writer) error {
	if len(args) > 0 && args[0] == "rival" {
		return runRival(ctx, strings.Join(args[1:], " "))
	}
	if len(args) > 0 && args[0] == "relay" {
		return relay.Run(ctx, strings.Join(args[1:], " "), out)
	}
	o := options{out: out}
	flags := flag.NewFlagSet("bench", flag.ContinueOnError)
	flags.StringVar(&o.document, "document", "docs/benchmark.md", "the file whose generated part is written anew; empty for none")
	flags.IntVar(&o.rounds, "rounds", 5, "rounds; a figure is the median of them")
	flags.DurationVar(&o.window, "window", 2*time.Second, "how long one measurement under load lasts")
	flags.DurationVar(&o.warm, "warm", 500*time.Millisecond, "load before it that is not measured")
	flags.BoolVar(&o.long, "long", false, "the long measurements instead")
	flags.IntVar(&o.minutes, "minutes", 10, "long: how long memory is watched")
	flags.IntVar(&o.million, "million", 1_000_000, "long: users of a reconciliation and a backfill; the large roll has ten times as many")
	flags.StringVar(&o.only, "only", "", "long: one part: memory, roll, targets or jobs")
	flags.StringVar(&o.profileTo, "profile", "", "a directory: write where the time goes, instead")
	flags.StringVar(&o.try, "try", "", "SQL: hold the bare statements with it against those without it, instead")
	flags.StringVar(&o.against, "against", "", "another build of Rollcall, or a script that execs it: hold it against this one, instead")
	flags.StringVar(&o.notify, "notify", "", "with -against: transitions, such as appeared, that this build notes for a notification")
	flags.BoolVar(&o.deliver, "deliver", false, "with -notify: send them on a channel as well, all the while; else they wait")
	flags.StringVar(&o.scale, "scale", "", "what docs/scaling.md is made of, instead: replicas, committers or size")
	flags.BoolVar(&o.far, "far", false, "with a distance between the candidates and the database, instead")
	if err := flags.Parse(args); err != nil {
		return err
	}
	debug.SetGCPercent(400) // the generator's own garbage must not take the candidates' processor
	switch {
	case o.against != "":
		return onStand(ctx, o, nil, runAgainst)
	case o.far:
		return onStand(ctx, o, nil, runFar)
	case o.scale != "":
		return onStand(ctx, o, nil, runScale)
	case o.try != "":
		return onStand(ctx, o, nil, runTry)
	case o.profileTo != "":
		return onStand(ctx, o, profileSettings, runProfile)
	case o.long:
		return onStand(ctx, o, longSettings, runLong)
	}
	return onStand(ctx, o, nil, runShort)
}
