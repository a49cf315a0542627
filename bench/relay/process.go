package relay

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"time"
)

// threads let each connection sleep in a thread of its own: one that sleeps to within microseconds holds a
// processor of the Go scheduler for a while.
const threads = 512

// Process runs a program that calls Run with the arguments relay and the delay, and returns the URL of a
// database through it, and how to end it.
func Process(ctx context.Context, program, database string, delay time.Duration) (address string, stop func() error, err error) {
	cmd := exec.CommandContext(ctx, program, "relay", delay.String())
	cmd.Env = append(os.Environ(), "DATABASE_URL="+database, fmt.Sprint("GOMAXPROCS=", threads))
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe() // the relay ends when it is closed, also by the end of this process
	if err != nil {
		return "", nil, err
	}
	said, err := cmd.StdoutPipe()
	if err != nil {
		return "", nil, err
	}
	if err := cmd.Start(); err != nil {
		return "", nil, fmt.Errorf("start a relay: %w", err)
	}
	stop = func() error { return errors.Join(in.Close(), cmd.Wait()) }
	if _, err := fmt.Fscanln(said, &address); err != nil {
		return "", nil, errors.Join(fmt.Errorf("read the relay's address: %w", err), stop())
	}
	return address, stop, nil
}

// Run is a relay before the database that DATABASE_URL names, until standard input ends; it prints the URL
// through it.
func Run(ctx context.Context, delay string, out io.Writer) error {
	d, err := time.ParseDuration(delay)
	if err != nil {
		return fmt.Errorf("read the delay: %w", err)
	}
	r, url, err := Database(os.Getenv("DATABASE_URL"), d)
	if err != nil {
		return err
	}
	defer func() { _ = r.Close() }()
	fmt.Fprintln(out, url)
	ended := make(chan error, 1)
	go func() {
		_, err := io.Copy(io.Discard, os.Stdin)
		ended <- err
	}()
	select {
	case err = <-ended:
	case <-ctx.Done():
	}
	return err
}
