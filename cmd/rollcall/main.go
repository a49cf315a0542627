// Command rollcall keeps every application's own user table in step with its auth
// provider.
package main

import (
	"context"
	"os"
	"os/signal"
	"runtime"
	"runtime/debug"
	"syscall"

	"rollcall/internal/cli"
)

// memoryLimit is what the garbage collector aims to stay below; with the program itself that
// is less than 256 MiB. GOMEMLIMIT sets another.
const memoryLimit = 200 << 20

// garbagePercent trades memory for processor time: a small heap is collected all the time.
// GOGC sets another.
const garbagePercent = 400

func main() {
	runtime.MemProfileRate = 0 // the program offers no memory profile, and to note a stack for every 512 KiB takes time
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
	code := run(ctx, cli.Env{
		Args: os.Args[1:], Getenv: os.Getenv, Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr, Hangup: hangup,
	})
	stop()
	os.Exit(code)
}
