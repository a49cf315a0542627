package doctor

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"rollcall/internal/config"
	"rollcall/internal/postgres/audit"
	"rollcall/internal/target"
)

// targets finds what keeps the targets from working, or does to their users what nobody may have meant.
func (e *examination) targets(ctx context.Context) error {
	ts := e.DB.Targets()
	var found []target.Finding
	if e.Targets == Compiled {
		var err error
		if found, err = ts.Check(ctx); err != nil {
			return err
		}
	} else {
		for _, t := range ts.All() {
			found = append(found, t.Found...)
		}
	}
	said := map[string]bool{}
	for _, f := range found {
		said[f.Target] = true
		e.target(f)
	}
	for _, s := range ts.States() {
		if s.Outage != "" && !said[s.Name] {
			e.add(targetOut, e.at("targets", s.Name), fmt.Sprintf("target %s is out of service, and its users are parked: %s", s.Name, s.Outage),
				command("rollcall doctor"))
		}
	}
	return nil
}

// target adds a finding about a target.
func (e *examination) target(f target.Finding) {
	list := e.DB.Targets().Configured()
	at := slices.IndexFunc(list, func(t target.Target) bool { return t.Name == f.Target })
	if at < 0 { // a reload has removed it meanwhile
		return
	}
	t := &list[at]
	e.add(f.Code, f.At, "target "+f.Target+": "+f.Meaning(), orEdit(config.RemedyOf(t, f), f.At))
}

// orEdit is a remedy, or where there is none the place to edit.
func orEdit(r config.Remedy, at string) config.Remedy {
	if r != (config.Remedy{}) {
		return r
	}
	file, line, _ := strings.Cut(at, ":")
	line, _, _ = strings.Cut(line, ":")
	return command("${EDITOR:-vi} +%s %s", line, file)
}

// backfills finds the targets that lack users from before them.
func (e *examination) backfills(ctx context.Context) error {
	states, err := e.DB.Backfills().States(ctx)
	for _, s := range states {
		switch {
		case s.New:
			e.add(backfillMissing, e.at("targets", s.Target), fmt.Sprintf("target %s is newer than %d users of the roll, which its table "+
				"lacks until they change", s.Target, s.Users), command("rollcall backfill %s", s.Target))
		case !s.Began.IsZero() && e.Now().Sub(s.Began) > e.Bounds.Parked:
			e.add(backfillOpen, e.at("targets", s.Target), fmt.Sprintf("the backfill of target %s that began at %s has not ended: it has "+
				"visited %d users", s.Target, moment(s.Began), s.Users), command("rollcall backfill %s", s.Target))
		}
	}
	return err
}

// unindexed finds the foreign keys because of which each deletion reads a table.
func (e *examination) unindexed(ctx context.Context) error {
	for _, t := range e.DB.Targets().All() {
		if t.OID == 0 || t.OnDelete.Action != target.DeleteRow {
			continue
		}
		list, err := e.survey.Unindexed(ctx, t.OID, e.Bounds.Unindexed)
		if err != nil {
			return err
		}
		for _, u := range list {
			e.add(referenceUnindexed, "table "+u.Table, fmt.Sprintf("the foreign key %s to %s has no index: each deleted user has PostgreSQL "+
				"read all of %s (%s)", u.Constraint, t.Table, u.Table, size(u.Bytes)),
				sql("create index concurrently on %s (%s)", u.Table, u.Columns))
		}
	}
	return nil
}

// parked finds the users who are given up, and those who wait for long.
func (e *examination) parked(ctx context.Context) error {
	list, err := e.survey.Parked(ctx)
	for _, p := range list {
		at := e.at("targets", p.Target)
		configured := slices.ContainsFunc(e.File.Targets, func(t target.Target) bool { return t.Name == p.Target })
		switch {
		case !configured: // what a target that was removed has left
		case p.GivenUp > 0:
			e.add(parkedGivenUp, at, fmt.Sprintf("target %s has refused %d users until they were given up; they are tried again only "+
				"at their next event", p.Target, p.GivenUp), command("rollcall parked retry %s", p.Target))
		case e.Now().Sub(p.Oldest) > e.Bounds.Parked:
			e.add(parkedLong, at, fmt.Sprintf("target %s refuses %d users, one since %s; rollcall parked says why", p.Target, p.Users, moment(p.Oldest)),
				command("rollcall parked %s", p.Target))
		}
	}
	return err
}

// checked finds what the last check has counted.
func (e *examination) checked(ctx context.Context) error {
	checked, err := e.DB.Audit().Checked(ctx)
	if err != nil {
		return err
	}
	for _, t := range e.File.Targets {
		c := checked[t.Name]
		at := e.at("targets", t.Name)
		if n := c.OutOfStep(); n > 0 {
			e.add(targetDiffers, at, fmt.Sprintf("the check at %s has found %d users out of step in target %s", moment(c.At), n, t.Name),
				command("rollcall check --repair"))
		}
		if n := c.Users[audit.Suppressed] + c.Users[audit.Rewritten]; n > 0 {
			e.add(targetOverruled, at, fmt.Sprintf("triggers of the table of target %s decide otherwise about %d users", t.Name, n),
				command("rollcall check"))
		}
		if last := later(c.At, e.since); !last.IsZero() && e.Now().Sub(last) > e.Bounds.Checked {
			e.add(checkOld, at, fmt.Sprintf("target %s was last checked %s: nothing says whether it is in step", t.Name, since(c.At)),
				command("rollcall check"))
		}
	}
	return nil
}
