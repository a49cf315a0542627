//go:build bench

package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"time"

	"rollcall/bench/rival"
)

// candidate is a program that takes webhooks, with its settings in the environment.
type candidate struct {
	name    string
	pool    int // connections to the database; 0 where it is not ours to say
	argv    []string
	metrics bool // it has them at an address of their own, and says there when it is ready
}

// rollcall is the built binary with its defaults.
func (s *stand) rollcall(name, file string) *candidate {
	return &candidate{name: name, argv: []string{s.programs.rollcall, "serve", "-c", file}, metrics: true}
}

// rival is this program again, as a server of one of the rivals.
func (s *stand) rival(name string) *candidate {
	return &candidate{name: name, argv: []string{s.programs.self, "rival", name}}
}

func (s *stand) fastify() *candidate {
	return &candidate{name: nameFastify, argv: []string{"node", filepath.Join(s.programs.fastify, "server.mjs")}}
}

// start runs a candidate until it is ready.
func (s *stand) start(ctx context.Context, c *candidate) (*process, error) {
	address, err := freeAddress(ctx)
	if err != nil {
		return nil, err
	}
	p := &process{cmd: exec.CommandContext(context.WithoutCancel(ctx), c.argv[0], c.argv[1:]...), address: address}
	p.cmd.Env = append(os.Environ(), "DATABASE_URL="+s.url, "CLERK_WEBHOOK_SIGNING_SECRET="+s.mill.secret,
		"LISTEN="+address, "POOL="+strconv.Itoa(c.pool), "NODE_ENV=production")
	if !c.metrics {
		p.cmd.Stderr = &p.said
		return p, p.start(ctx, address)
	}
	if p.admin, err = freeAddress(ctx); err != nil { // its log, a line per request, goes nowhere
		return nil, err
	}
	p.cmd.Env = append(p.cmd.Env, "ADMIN_LISTEN="+p.admin)
	return p, p.start(ctx, p.admin)
}

// rivals are what this program serves in other processes, by name.
var rivals = map[string]func(context.Context, rival.Config) (http.Handler, func(), error){
	namePerRequest: rival.PerRequest, nameHandler: rival.Handler,
}

// runRival serves one of the rivals until a signal.
func runRival(ctx context.Context, name string) error {
	pool, err := strconv.ParseInt(os.Getenv("POOL"), 10, 32)
	if err != nil {
		return fmt.Errorf("POOL: %w", err)
	}
	maker, ok := rivals[name]
	if !ok {
		return fmt.Errorf("there is no rival %q", name)
	}
	handler, closePool, err := maker(ctx, rival.Config{
		Database: os.Getenv("DATABASE_URL"), Secret: os.Getenv("CLERK_WEBHOOK_SIGNING_SECRET"), Connections: int32(pool),
	})
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
