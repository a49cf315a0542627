//go:build bench

package main

import (
	"fmt"
	"os"
	"os/signal"
	"runtime/pprof"
	"syscall"
)

// A program built for the benchmark writes a profile of its processor time to the file that
// ROLLCALL_CPU_PROFILE names, from one SIGUSR1 to the next. The shipped one can't.
func init() {
	name := os.Getenv("ROLLCALL_CPU_PROFILE")
	if name == "" {
		return
	}
	toggle := make(chan os.Signal, 1)
	signal.Notify(toggle, syscall.SIGUSR1)
	go func() {
		for range toggle {
			if err := profileUntil(name, toggle); err != nil {
				fmt.Fprintln(os.Stderr, "profile:", err)
			}
		}
	}()
}

func profileUntil(name string, end <-chan os.Signal) error {
	file, err := os.Create(name)
	if err != nil {
		return err
	}
	if err := pprof.StartCPUProfile(file); err != nil {
		return err
	}
	<-end
	pprof.StopCPUProfile()
	return file.Close()
}
