package demo

import (
	"context"
	"encoding/json"
	"io"
	"time"
)

// webhook is the line of a webhook in the log of the service.
type webhook struct {
	Msg     string  `json:"msg"`
	Source  string  `json:"source"`
	Type    string  `json:"type"`
	Outcome string  `json:"outcome"`
	Status  int     `json:"status"`
	Seconds float64 `json:"seconds"`
}

// key tells requests apart by what a sender knows of them; the log does not know the type of a forged one.
func (w webhook) key() string { return w.Source + " " + w.Outcome }

// webhooksIn writes a log on and picks the lines of webhooks out of it.
type webhooksIn struct {
	to    io.Writer
	found chan<- webhook
}

func (w webhooksIn) Write(p []byte) (int, error) {
	var line webhook
	if json.Unmarshal(p, &line) == nil && line.Msg == "webhook" {
		select {
		case w.found <- line:
		default: // more than a screen can show
		}
	}
	return w.to.Write(p)
}

// ownTimeout is how long the line of an answered request may take.
const ownTimeout = time.Second

// awaitOwn waits for the line of a request of the demo's own, and shows those of others before it.
func (d *demo) awaitOwn(ctx context.Context, own webhook) {
	timeout := time.After(ownTimeout)
	for {
		select {
		case line := <-d.webhooks:
			if line.key() == own.key() {
				return
			}
			d.view.visitor(line)
		case <-timeout: // the log leaves out repeated lines
			return
		case <-ctx.Done():
			return
		}
	}
}
