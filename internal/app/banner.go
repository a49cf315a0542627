package app

import (
	"context"
	"fmt"
	"io"
	"net"
	"strings"
	"time"

	"rollcall/internal/event"
	"rollcall/internal/source"
	"rollcall/internal/terminal"
)

// banner is what a person sees at the start: rows of a label and what belongs to it.
type banner struct{ text strings.Builder }

// add puts values below each other, with the label before the first of them.
func (b *banner) add(label string, values ...string) {
	for _, value := range values {
		fmt.Fprintf(&b.text, "  %-10s %s\n", label, value)
		label = ""
	}
}

func (b *banner) writeTo(to io.Writer) {
	_, _ = io.WriteString(event.PrintableTo(to), terminal.Fold(b.text.String())) // who can't be shown it reads the log
}

// sayPlaces shows the version, where the listeners are, and the schedules: what is known without a database.
func (o Options) sayPlaces(public, admin net.Addr) {
	if o.Banner == nil {
		return
	}
	b, base := &banner{}, "http://"+dialable(public)
	fmt.Fprintf(&b.text, "Rollcall %s\n", o.Version)
	var endpoints, schedules []string
	for _, src := range o.Setup.Sources {
		at := base + "/webhooks/" + src.Name()
		if src.Open(source.Hook) {
			endpoints = append(endpoints, at)
		}
		if src.Open(source.Database) {
			endpoints = append(endpoints, at+"/database")
		}
	}
	if len(o.Setup.Sessions) > 0 {
		endpoints = append(endpoints, base+"/v1/sync")
	}
	b.add("receives", append(endpoints, base+"/healthz, /readyz")...)
	b.add("admin", "http://"+dialable(admin)+"/metrics, /admin/v1/status")
	for _, src := range o.Setup.Config.Sources {
		if src.Reconcile != nil && src.Reconcile.Schedule != "" {
			schedules = append(schedules, fmt.Sprintf("reconcile %s: %s (UTC)", src.Name, src.Reconcile.Schedule))
		}
	}
	b.add("schedules", orNone(schedules)...)
	b.writeTo(o.Banner)
}

// bannerTimeout bounds the look at the database that the banner takes.
const bannerTimeout = 2 * time.Second

// sayStates shows the targets and the captures.
func (sv *service) sayStates(ctx context.Context) {
	if sv.options.Banner == nil {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, bannerTimeout)
	defer cancel()
	b := &banner{}
	b.add("targets", orNone(sv.targetLines(ctx))...)
	b.add("capture", orNone(sv.captureLines(ctx))...)
	b.writeTo(sv.options.Banner)
}

func (sv *service) targetLines(ctx context.Context) []string {
	parked, err := sv.db.Parked().Count(ctx)
	var lines []string
	for _, t := range sv.db.Targets().States() {
		state := "in service"
		if t.Outage != "" {
			state = "out of service: " + t.Outage
		}
		if n := parked[t.Name]; err == nil && n > 0 {
			state += ", users are parked (rollcall check says why)"
		}
		lines = append(lines, fmt.Sprintf("%s → %s: %s", t.Name, t.Table, state))
	}
	return lines
}

func (sv *service) captureLines(ctx context.Context) []string {
	list := sv.setup().Captures()
	if len(list) == 0 {
		return nil
	}
	found, err := sv.db.Outbox().Captures(ctx, list)
	if err != nil {
		return []string{"unknown: " + err.Error()}
	}
	var lines []string
	for i, c := range list {
		state := "not installed (rollcall capture install " + c.Source + ")"
		if found[i].Installed {
			state = "installed"
		}
		lines = append(lines, fmt.Sprintf("%s, %s: %s", c.Source, c.Table, state))
	}
	return lines
}

func orNone(lines []string) []string {
	if len(lines) == 0 {
		return []string{"none"}
	}
	return lines
}

// dialable is an address of this machine for a listener on all of its addresses.
func dialable(at net.Addr) string {
	host, port, err := net.SplitHostPort(at.String())
	if ip := net.ParseIP(host); err == nil && ip.IsUnspecified() {
		return net.JoinHostPort("localhost", port)
	}
	return at.String()
}
