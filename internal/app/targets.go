package app

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"rollcall/internal/postgres/audit"
	"rollcall/internal/postgres/settle"
	"rollcall/internal/target"
)

const (
	// lookAtTargets is the pause between two looks at what has become of the targets.
	lookAtTargets = time.Second
	// probeTargets is the pause between two probes of targets that are out of service.
	probeTargets = 5 * time.Second
)

// said is what the log has said, so that it says it once.
type said struct {
	outages map[string]string // why targets are out of service
	tables  map[string]uint32 // the oids of the targets' tables
	offered map[string]bool   // new targets that want a backfill
	unread  map[string]string // why sources are no table sources
	// overruled is what triggers decide: "target state".
	overruled sync.Map
}

func newSaid() *said {
	return &said{
		outages: map[string]string{}, tables: map[string]uint32{}, offered: map[string]bool{}, unread: map[string]string{},
	}
}

// forgetAllBut forgets targets that a reload has removed.
func (s *said) forgetAllBut(states []settle.State) {
	for name := range s.outages {
		if !slices.ContainsFunc(states, func(t settle.State) bool { return t.Name == name }) {
			delete(s.outages, name)
			delete(s.tables, name)
			delete(s.offered, name)
		}
	}
}

// watchTargets logs what becomes of the targets, probes those that are out of service, and enqueues
// the jobs that are due: parked users are tried again, announced ones looked up.
func (sv *service) watchTargets(ctx context.Context) {
	ticker := time.NewTicker(lookAtTargets)
	defer ticker.Stop()
	probed := time.Now()
	for {
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return
		}
		out, back := sv.sayChanges()
		if back {
			sv.offerBackfills(ctx)
		}
		var err error
		if out && time.Since(probed) > probeTargets-lookAtTargets/2 { // at the tick that is nearest
			probed = time.Now()
			err = sv.db.Targets().Probe(ctx)
		}
		if time.Since(sv.followedAt) > followPause {
			sv.follow(ctx)
		}
		err = errors.Join(err, sv.enqueueDue(ctx))
		if ctx.Err() != nil || err == nil && !sv.unready() {
			continue
		}
		if sv.ready(ctx) == nil && err != nil { // it logs what has changed
			sv.log.Warn("targets can't be checked, or announced users looked up; Rollcall tries again", "error", err)
		}
	}
}

// sayFindings logs all that the first check has found.
func (sv *service) sayFindings(findings []target.Finding) {
	sv.findings.Said(findings...)
	for _, f := range findings {
		if f.Severity == target.Warning {
			sv.log.Warn("a target needs attention", "target", f.Target, "at", f.At, "code", f.Code, "warning", f.What)
			continue
		}
		sv.log.Error("a target is out of service; its users are parked", "target", f.Target, "at", f.At, "code", f.Code, "error", f.What)
	}
	for _, t := range sv.db.Targets().States() {
		sv.said.outages[t.Name], sv.said.tables[t.Name] = t.Outage, t.OID
	}
}

// sayChanges logs each target that went out of service, or came back, since it was last asked,
// and reports whether one is out and whether one came back or has another table.
func (sv *service) sayChanges() (out, back bool) {
	states := sv.db.Targets().States()
	sv.said.forgetAllBut(states)
	for _, t := range states {
		before := sv.said.outages[t.Name]
		switch {
		case t.Outage != "" && before == "":
			sv.log.Error("a target is out of service; its users are parked",
				"target", t.Name, "table", t.Table, "error", t.Outage)
		case t.Outage == "" && before != "":
			sv.log.Info("a target is in service again; it catches up", "target", t.Name)
		}
		if t.Outage == "" && (before != "" || sv.said.tables[t.Name] != t.OID) {
			delete(sv.said.offered, t.Name) // its table may be another one
			back = true
		}
		sv.said.outages[t.Name], sv.said.tables[t.Name] = t.Outage, t.OID
		out = out || t.Outage != ""
	}
	return out, back
}

// offerBackfills says of each target that is new, or whose table is, how to fill it: at the start,
// and when it is in service again.
func (sv *service) offerBackfills(ctx context.Context) {
	unfilled, err := sv.db.Backfills().Unfilled(ctx)
	if err != nil && ctx.Err() == nil {
		sv.log.Warn("new targets can't be found until the next start", "error", err)
	}
	for _, u := range unfilled {
		if !sv.said.offered[u.Target] {
			sv.said.offered[u.Target] = true
			sv.log.Warn("a target is new: its table lacks users from before it; fill it",
				"target", u.Target, "users", u.Users, "command", "rollcall backfill "+u.Target)
		}
	}
}

// sayOverruled says once what the triggers of a target's table decide.
func (sv *service) sayOverruled(report *audit.Report) {
	for _, o := range report.Overruled {
		if _, said := sv.said.overruled.LoadOrStore(o.Target+" "+string(o.State), true); !said {
			sv.log.Warn("triggers of a target's table change or suppress what Rollcall writes", "target", o.Target,
				"state", o.State, "users", o.Users, "columns", o.Columns, "triggers", o.Triggers)
		}
	}
}
