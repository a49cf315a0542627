package main

import (
	"os"
	"time"

	"github.com/schollz/progressbar/v3"
	"golang.org/x/term"
)

// progress is a bar on a terminal, with rate and time left, for what takes over a second;
// elsewhere it is silent.
type progress struct {
	w     world
	what  string
	begun time.Time
	bar   *progressbar.ProgressBar
}

// patience is how long a command may take without a bar.
const patience = time.Second

// newProgress makes a bar for so many of something ("users compared").
func newProgress(w world, what string) *progress {
	return &progress{w: w, what: what, begun: time.Now()}
}

// show says how many are done.
func (p *progress) show(done, total int64) {
	screen, ok := p.w.stderr.(*os.File)
	if !ok || !term.IsTerminal(int(screen.Fd())) {
		return
	}
	if p.bar == nil && time.Since(p.begun) > patience {
		p.bar = progressbar.NewOptions64(total,
			progressbar.OptionSetWriter(screen), progressbar.OptionSetDescription(p.what), progressbar.OptionShowCount(),
			progressbar.OptionShowIts(), progressbar.OptionSetPredictTime(true), progressbar.OptionSetWidth(30),
			progressbar.OptionThrottle(100*time.Millisecond), progressbar.OptionClearOnFinish(), progressbar.OptionUseANSICodes(true))
	}
	if p.bar != nil {
		p.bar.ChangeMax64(total)
		_ = p.bar.Set64(done) // a bar that can't be drawn is no reason to stop
	}
}

// end takes the bar away: the result says the rest.
func (p *progress) end() {
	if p.bar != nil {
		_ = p.bar.Finish()
	}
}
