// Command rollcall keeps every application's own user table in step with its auth
// provider.
package main

import (
	"context"
	"io"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"
)

// memoryLimit is what the garbage collector aims to stay below; with the program itself that
// is less than 256 MiB. GOMEMLIMIT sets another.
const memoryLimit = 200 << 20

// garbagePercent trades memory for processor time: a small heap is collected all the time.
// GOGC sets another.
const garbagePercent = 400

func main() {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(garbagePercent)
	}
	if os.Getenv("GOMEMLIMIT") == "" {
		debug.SetMemoryLimit(memoryLimit)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second signal ends at once
	hangup := make(chan os.Signal, 1)
	if !signal.Ignored(syscall.SIGHUP) { // nohup has it ignored
		signal.Notify(hangup, syscall.SIGHUP)
	}
	code := run(ctx, environment{os.Args[1:], os.Getenv, os.Stdin, os.Stdout, os.Stderr, hangup})
	stop()
	os.Exit(code)
}

// environment is all that a command sees of the machine.
type environment struct {
	args   []string
	getenv func(string) string
	stdin  io.Reader
	stdout io.Writer
	stderr io.Writer
	hangup <-chan os.Signal // SIGHUP
}
