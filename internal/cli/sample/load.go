package sample

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"net/url"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"rollcall/internal/app"
	"rollcall/internal/cli"
	"rollcall/internal/event"
	generator "rollcall/internal/load"
	"rollcall/internal/postgres/audit"
	"rollcall/internal/source"
	"rollcall/internal/terminal"
	"rollcall/internal/testevent"
)

const loadHelp = `Sends signed events of one source to a serve, as many as it takes or as --rate says, and
prints how many were accepted, how long that took, and what became of them.

It WRITES: every user it makes up gets into the roll and into every target, and stays there.
Nothing is cleaned up. The ids of a run begin alike, and the result says how to find them,
and the SQL that removes them (of a target whose key is new.id):
user_load_<run>_<n> at Clerk, uuids of the form 10ad<run>-4000-8000-<n> at Supabase. So it
refuses a host that isn't this machine, unless --yes-really is given.

With --rate requests are due at fixed moments, whether or not a connection is free, and
latency counts from those moments: what a stalled server does to those who wait shows.
Without, each of the connections sends the next request as soon as it has its answer, and
latency counts from the write. Latency is of accepted (2xx) requests.

--mix is how often a user is created, updated or deleted, by weight. Updates and deletes
are about users of this run; where there is none yet, one is created. With --users N, at
most N live at once: beyond that, another user is updated instead of a new one. Supabase's
hooks report new users only; the others take the database endpoint. At Clerk, users of the run
also join organizations of up to 100 (joined), get another role (promoted) and leave (left):
org_load_<run>_<n>, orgmem_load_<run>_<n>. By default they don't.

After the duration answers are waited for, 5 seconds at most. Ctrl-C ends it early, and the
result is printed all the same. Exits 0 when all was accepted.

--output json prints one object; durations are seconds, rates are per second:
  run, url, source, ids            what was sent where; ids is a pattern of SQL's like
  connections, rate, mix, users, duration_seconds     as asked; rate 0 is as fast as it goes
  interrupted, elapsed_seconds     by Ctrl-C; until the last answer
  requests, accepted, refused, failed, unsent         the last were due and found no connection
  throughput                       accepted per second
  latency_seconds                  p50, p90, p99, p999, max
  outcomes, events, errors         counts by outcome (or http_<status>), kind of event, kind of error
  generator_cores                  what this command took of the processors itself`

const loadExample = `  rollcall load clerk
  rollcall load clerk --rate 500 --duration 1m
  rollcall load clerk --mix created=20,joined=50,promoted=20,left=10
  rollcall load supabase --mix created=100 --connections 16 --users 10000`

// maxRate is in requests a second: more than any sender could send, and with the longest duration
// less than can be counted.
const maxRate = 100_000_000

// loadOptions are the flags of load.
type loadOptions struct {
	url         string
	connections int
	rate        float64
	mix         generator.Mix
	users       int
	duration    time.Duration
	yesReally   bool
	output      *cli.Output
}

func newLoad(env cli.Env) *cobra.Command {
	o := loadOptions{mix: generator.DefaultMix}
	cmd := &cobra.Command{
		Use:               "load SOURCE",
		Short:             "Sends many made-up users to a running serve and measures",
		Long:              loadHelp,
		Example:           loadExample,
		Args:              cli.OneArg("source", 1),
		ValidArgsFunction: env.Named(cli.SourceNames),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := o.check(); err != nil {
				return cli.Usagef("%w", err)
			}
			s, err := env.Load(cmd)
			if err != nil {
				return err
			}
			src, err := s.Source(args[0])
			if err != nil {
				return err
			}
			base, err := baseURL(o.url, s.Config.Listen)
			if err != nil {
				return err
			}
			return runLoad(cmd.Context(), env, o, loadTarget{s, src, base})
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&o.url, "url", "", "base `URL` of the receiver (default this machine, at the port of listen)")
	flags.IntVar(&o.connections, "connections", 64, "how many requests may be under way at once")
	flags.Float64Var(&o.rate, "rate", 0, "requests a second; 0 is as fast as it goes")
	flags.Var(&o.mix, "mix", "how often each kind of event is sent, by weight")
	flags.IntVar(&o.users, "users", 0, "how many users may live at once; 0 is no limit")
	flags.DurationVar(&o.duration, "duration", 10*time.Second, "how long to send")
	flags.BoolVar(&o.yesReally, "yes-really", false, "also to a host that isn't this machine; it writes there")
	o.output = cli.AddOutput(cmd)
	return cmd
}

func (o *loadOptions) check() error {
	switch {
	case o.connections < 1:
		return fmt.Errorf("--connections %d: must be at least 1", o.connections)
	case o.rate < 0 || o.rate > maxRate || math.IsNaN(o.rate):
		return fmt.Errorf("--rate %v: must be a number of requests a second, %s at most, or 0", o.rate, cli.Grouped(maxRate))
	case o.users < 0:
		return fmt.Errorf("--users %d: must not be negative", o.users)
	case o.duration <= 0:
		return fmt.Errorf("--duration %v: must be longer than nothing", o.duration)
	}
	if u, err := url.Parse(o.url); err == nil && u.User != nil {
		return errors.New("--url: load sends no user name and no password; leave them out")
	}
	return checkURL(o.url)
}

// loadTarget is who signs and where it goes.
type loadTarget struct {
	setup  *app.Setup
	source *source.Source
	base   string
}

func runLoad(ctx context.Context, env cli.Env, o loadOptions, to loadTarget) error {
	receiver, err := generator.Resolve(ctx, to.base)
	if err != nil {
		return err
	}
	if !receiver.Local() && !o.yesReally {
		return cli.Usagef("%s is not this machine, and load writes users into every target it has; add --yes-really if that is what you want", to.base)
	}
	run := newRun()
	live := &loadView{}
	if terminal.Is(env.Stderr) {
		live.out = env.Stderr
	}
	result, err := generator.Run(ctx, generator.Config{
		To: receiver, Source: to.source, Mix: o.mix, Users: o.users, Run: run,
		Connections: o.connections, Rate: o.rate, Duration: o.duration, Live: live.show,
	})
	live.clear()
	if errors.Is(err, syscall.ECONNREFUSED) {
		return testevent.Unreached(to.base, err)
	}
	if closed, ok := errors.AsType[*generator.ClosedError](err); ok {
		return o.closed(to, closed)
	}
	if err != nil {
		return err
	}
	report := newLoadReport(o, to, run, result)
	if result.Outcomes[string(event.Parked)] > 0 && receiver.Local() {
		report.Parked = to.whyParked(ctx, env)
	}
	if err := o.output.Write(env.Stdout, report, report.text); err != nil {
		return err
	}
	if missed := result.Refused + result.Failed + result.Unsent; missed > 0 {
		return fmt.Errorf("%s of %s requests were not accepted", cli.Grouped(missed), cli.Grouped(result.Requests+result.Unsent))
	}
	return nil
}

// whyParked reads the parked users and the reasons from the database of the configuration; none if it can't be
// asked.
func (to loadTarget) whyParked(ctx context.Context, env cli.Env) []audit.ParkedGroup {
	db, err := to.setup.Open(to.setup.Logger(env.Stderr))
	if err != nil {
		return nil
	}
	defer app.CloseSoon(db)
	ctx, cancel := context.WithTimeout(ctx, whyTimeout)
	defer cancel()
	groups, err := db.Audit().ParkedGroups(ctx, audit.ParkedFilter{Targets: cli.TargetNames(to.setup.Config), Groups: 5})
	if err != nil {
		return nil
	}
	return groups
}

// closed says which secret is missing, as send does, and what goes without it.
func (o loadOptions) closed(to loadTarget, endpoint *generator.ClosedError) error {
	err := closed(to.setup, to.source, endpoint.Endpoint)
	if endpoint.Kind == generator.Created {
		return err
	}
	return fmt.Errorf("%w\nSupabase's hooks report new users only; for those alone write --mix created=100", err)
}

// newRun is what tells the users of a run from those of all others.
func newRun() uint32 {
	var run [4]byte
	_, _ = rand.Read(run[:]) // never fails
	return binary.BigEndian.Uint32(run[:])
}
