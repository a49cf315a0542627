package cli

import (
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/schollz/progressbar/v3"

	"rollcall/internal/event"
	"rollcall/internal/terminal"
)

// EraseLine is the beginning of the line, and the line cleared.
const EraseLine = "\r\x1b[K"

// progress shows how far a command is, with its rate and the time left. Nil, which it is
// when standard error is no terminal, shows nothing.
type progress struct {
	bar *progressbar.ProgressBar
	to  *lateWriter
}

// newProgress is about a total of rows; what says what becomes of them ("filling profiles").
func (env Env) newProgress(total int64, what string) *progress {
	if !terminal.Is(env.Stderr) {
		return nil
	}
	return progressOn(env.Stderr, total, what)
}

// Bar is a bar whose total is known when it first shows something.
func (env Env) Bar(what string) (show func(done, total int64), finish func()) {
	rows, finish := env.BarOfRolls(what)
	return func(done, total int64) { rows(&event.Users, done, total) }, finish
}

// BarOfRolls is Bar for one roll after the other.
func (env Env) BarOfRolls(what string) (show func(roll *event.Roll, done, total int64), finish func()) {
	var p *progress
	var of *event.Roll
	show = func(roll *event.Roll, done, total int64) {
		if roll != of {
			p.Finish()
			of, p = roll, env.newProgress(total, ofRoll(what, roll))
		}
		p.Set(done)
	}
	return show, func() { p.Finish() }
}

// ofRoll names what is done, with the roll if it is not that of users.
func ofRoll(what string, roll *event.Roll) string {
	if roll == &event.Users {
		return what
	}
	return what + ", " + roll.Name
}

func progressOn(w io.Writer, total int64, what string) *progress {
	to := &lateWriter{w: w, from: time.Now().Add(progressAfter)}
	return &progress{to: to, bar: progressbar.NewOptions64(total,
		progressbar.OptionSetWriter(to), progressbar.OptionSetDescription(what), progressbar.OptionSetWidth(16), progressbar.OptionUseANSICodes(true),
		progressbar.OptionShowCount(), progressbar.OptionShowIts(), progressbar.OptionSetItsString("rows"),
		progressbar.OptionSetPredictTime(true), progressbar.OptionThrottle(100*time.Millisecond))}
}

// Set says how many rows are done.
func (p *progress) Set(rows int64) {
	if p != nil {
		_ = p.bar.Set64(min(rows, p.bar.GetMax64())) // what can't be shown is no reason to stop
	}
}

// Finish takes the bar away: the result speaks for itself.
func (p *progress) Finish() {
	if p != nil && p.to.wrote {
		_ = p.bar.Clear()
	}
}

// progressAfter is what a command may take before it shows anything.
const progressAfter = time.Second

// lateWriter drops what is written before a moment.
type lateWriter struct {
	w     io.Writer
	from  time.Time
	wrote bool
}

func (l *lateWriter) Write(p []byte) (int, error) {
	if time.Now().Before(l.from) {
		return len(p), nil
	}
	l.wrote = true
	return l.w.Write(p)
}

// Waiting shows what a command is at, for how long, where it does not know how far it is. What finish takes away may
// be taken away again.
func (env Env) Waiting(what string) (finish func()) {
	if !terminal.Is(env.Stderr) {
		return func() {}
	}
	return waitingOn(env.Stderr, what, progressAfter)
}

func waitingOn(to io.Writer, what string, pause time.Duration) (finish func()) {
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		ticker := time.NewTicker(pause)
		defer ticker.Stop()
		for began, shown := time.Now(), false; ; shown = true {
			select {
			case <-ticker.C:
				fmt.Fprintf(to, "%s%s … %.0f s", EraseLine, what, time.Since(began).Seconds())
			case <-stop:
				if shown {
					fmt.Fprint(to, EraseLine)
				}
				return
			}
		}
	}()
	return sync.OnceFunc(func() {
		close(stop)
		<-stopped
	})
}
