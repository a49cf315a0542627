//go:build bench

package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"time"

	"rollcall/bench/rival"
)

// candidate is something that takes webhooks.
type candidate struct {
	name  string
	pool  int // connections to the database; 0 where it is not ours to say
	start func(ctx context.Context, pool int) (*process, error)
}

// stand is the place of a measurement.
type stand struct {
	options
	programs *programs
	mill     *mill
	database *database
	dir      string             // of the server
	expected map[string]float64 // events a second, from earlier measurements, by name
}

// rollcall is the built binary with its defaults. Its log, a line per request, goes nowhere.
func (s *stand) rollcall(name, file string) *candidate {
	return &candidate{name: name, start: func(ctx context.Context, _ int) (*process, error) {
		public, err := freeAddress(ctx)
		if err != nil {
			return nil, err
		}
		admin, err := freeAddress(ctx)
		if err != nil {
			return nil, err
		}
		null, err := os.OpenFile(os.DevNull, os.O_WRONLY, 0)
		if err != nil {
			return nil, err
		}
		defer null.Close()
		p := &process{cmd: exec.CommandContext(context.WithoutCancel(ctx), s.programs.rollcall, "serve", "-c", file), address: public, admin: admin}
		p.cmd.Stderr = null
		getenv := environment(s.database.url, s.mill, public, admin)
		p.cmd.Env = os.Environ()
		for _, name := range []string{"DATABASE_URL", "CLERK_WEBHOOK_SIGNING_SECRET", "LISTEN", "ADMIN_LISTEN"} {
			p.cmd.Env = append(p.cmd.Env, name+"="+getenv(name))
		}
		return p, start(ctx, p, "http://"+admin+"/readyz")
	}}
}

// rival is this program again, as a server of one of the rivals.
func (s *stand) rival(name string) *candidate {
	return &candidate{name: name, start: func(ctx context.Context, pool int) (*process, error) {
		return s.launch(ctx, pool, s.programs.self, "rival", name)
	}}
}

func (s *stand) fastify() *candidate {
	return &candidate{name: nameFastify, start: func(ctx context.Context, pool int) (*process, error) {
		return s.launch(ctx, pool, "node", filepath.Join(s.programs.fastify, "server.mjs"))
	}}
}

// launch runs a program that takes its settings from the environment.
func (s *stand) launch(ctx context.Context, pool int, argv ...string) (*process, error) {
	address, err := freeAddress(ctx)
	if err != nil {
		return nil, err
	}
	p := &process{cmd: exec.CommandContext(context.WithoutCancel(ctx), argv[0], argv[1:]...), address: address}
	p.cmd.Env = append(os.Environ(), "DATABASE_URL="+s.database.url, "CLERK_WEBHOOK_SIGNING_SECRET="+s.mill.secret,
		"LISTEN="+address, "POOL="+strconv.Itoa(pool), "NODE_ENV=production")
	return p, start(ctx, p, "http://"+address+"/readyz")
}

// runRival serves one of the rivals until a signal.
func runRival(ctx context.Context, args []string) error {
	flags := flag.NewFlagSet("rival", flag.ContinueOnError)
	if err := flags.Parse(args); err != nil {
		return err
	}
	pool, err := strconv.ParseInt(os.Getenv("POOL"), 10, 32)
	if err != nil {
		return fmt.Errorf("POOL: %w", err)
	}
	cfg := rival.Config{Database: os.Getenv("DATABASE_URL"), Secret: os.Getenv("CLERK_WEBHOOK_SIGNING_SECRET"), Connections: int32(pool)}
	makers := map[string]func(context.Context, rival.Config) (http.Handler, func(), error){namePerRequest: rival.PerRequest, nameHandler: rival.Handler}
	maker, ok := makers[flags.Arg(0)]
	if !ok {
		return fmt.Errorf("there is no rival %q", flags.Arg(0))
	}
	handler, closePool, err := maker(ctx, cfg)
	if err != nil {
		return err
	}
	defer closePool()
	mux := http.NewServeMux()
	mux.Handle("POST "+path, handler)
	mux.HandleFunc("GET /readyz", func(http.ResponseWriter, *http.Request) {})
	server := &http.Server{Addr: os.Getenv("LISTEN"), Handler: mux, ReadHeaderTimeout: 10 * time.Second}
	context.AfterFunc(ctx, func() { _ = server.Close() })
	if err := server.ListenAndServe(); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// guess is assumed of a candidate that has not been measured yet, in events a second.
const guess = 15_000

// load drives a running candidate, on tables that are empty, and checks what it has written.
func (s *stand) load(ctx context.Context, c *candidate, p *process, connections int) (measured, error) {
	if err := s.database.reset(ctx); err != nil {
		return measured{}, err
	}
	return s.loadOnto(ctx, c, p, connections)
}

// loadOnto is load on tables as they are.
func (s *stand) loadOnto(ctx context.Context, c *candidate, p *process, connections int) (measured, error) {
	key := c.name + "/" + strconv.Itoa(connections)
	rate := s.expected[key] * 1.5
	if rate == 0 {
		rate = guess
	}
	requests := s.mill.make(int(rate*(s.warm+s.window).Seconds()) + 100)
	runtime.GC()
	batches, events, err := p.batches(ctx)
	if err != nil {
		return measured{}, err
	}
	before := s.spent(p)
	m, err := drive(ctx, traffic{addresses: []string{p.address}, requests: requests, connections: connections, warm: s.warm, window: s.window})
	if err != nil {
		return measured{}, fmt.Errorf("%s at %d connections: %w", c.name, connections, err)
	}
	s.spent(p).note(&m, before)
	batchesAfter, eventsAfter, err := p.batches(ctx)
	if err != nil {
		return measured{}, err
	}
	if batchesAfter > batches {
		m.Batch = (eventsAfter - events) / (batchesAfter - batches)
	}
	s.expected[key] = max(s.expected[key], m.PerSecond)
	m.PeakMiB = p.memory("VmHWM")
	return m, s.database.holds(ctx, m.Committed)
}
