package doctor

import (
	"context"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"rollcall/internal/config"
	"rollcall/internal/postgres/receipts"
	"rollcall/internal/source"
)

// received finds the sources that have fallen silent or that mostly don't verify, and the secrets that verify nothing.
func (e *examination) received(ctx context.Context) error {
	all, err := receipts.Recent(ctx, e.DB.Pool())
	if err != nil {
		return err
	}
	for _, s := range e.Sources {
		for endpoint, name := range map[source.Endpoint]string{source.Hook: receipts.Webhook, source.Database: receipts.Database} {
			h := history{}
			for _, r := range all {
				if r.Source == s.Name() && r.Endpoint == name {
					h = append(h, r)
				}
			}
			if !s.Open(endpoint) || len(h) == 0 {
				continue
			}
			e.silent(s, name, h)
			e.unverified(s, name, h)
			e.secrets(s, endpoint, h)
		}
	}
	return nil
}

// history is what an endpoint received, the oldest day first.
type history []receipts.Receipt

// with are the receipts of a secret.
func (h history) with(secret string) history {
	return slices.DeleteFunc(slices.Clone(h), func(r receipts.Receipt) bool { return r.Secret != secret })
}

// verified are those of all secrets.
func (h history) verified() history {
	return slices.DeleteFunc(slices.Clone(h), func(r receipts.Receipt) bool { return r.Secret == receipts.Unverified })
}

// since are those of the days from one on.
func (h history) since(t time.Time) history {
	day := t.UTC().Truncate(24 * time.Hour)
	return slices.DeleteFunc(slices.Clone(h), func(r receipts.Receipt) bool { return r.Day.Before(day) })
}

func (h history) requests() (n int64) {
	for _, r := range h {
		n += r.Requests
	}
	return n
}

func (h history) last() (last time.Time) {
	for _, r := range h {
		last = later(last, r.Last)
	}
	return last
}

// usualDays is on how many days in a row a source must have sent something for its silence to mean something.
const usualDays = 7

// silent finds a source that sent something every day, and nothing for days, while serve ran.
func (e *examination) silent(s *source.Source, endpoint string, h history) {
	last := h.verified().last()
	if last.IsZero() || e.Now().Sub(last) < e.Bounds.Silent || len(h.since(e.Now().Add(-24*time.Hour))) == 0 {
		return
	}
	day := last.UTC().Truncate(24 * time.Hour)
	for d := range usualDays {
		of := day.AddDate(0, 0, -d)
		if !slices.ContainsFunc(h.verified(), func(r receipts.Receipt) bool { return r.Day.Equal(of) && r.Requests > 0 }) {
			return
		}
	}
	e.add(sourceSilent, e.at("sources", s.Name()), fmt.Sprintf("source %s sent something each day, and its %s endpoint has verified nothing since %s: "+
		"the provider may have disabled it", s.Name(), endpoint, moment(last)), command("rollcall reconcile %s", s.Name()))
}

// unverified finds an endpoint of whose requests too many don't verify, today and yesterday.
func (e *examination) unverified(s *source.Source, endpoint string, h history) {
	recent := h.since(e.Now().Add(-24 * time.Hour))
	all, bad := recent.requests(), recent.with(receipts.Unverified).requests()
	if all < e.Bounds.Requests || float64(bad) <= e.Bounds.Unverified*float64(all) {
		return
	}
	field := `signing_secrets: ["${` + strings.ToUpper(s.Provider()) + `_SECRET}"]`
	if endpoint == receipts.Database {
		field = `database_webhook: {secrets: ["${SUPABASE_DB_WEBHOOK_SECRET}"]}`
	}
	e.add(sourceUnverified, e.at("sources", s.Name()), fmt.Sprintf("%d of %d requests at the %s endpoint of source %s did not verify since yesterday: "+
		"a secret is another one's, or something changes the bodies", bad, all, endpoint, s.Name()), sourceYAML(s.Name(), field))
}

// secrets finds the secrets that verify nothing.
func (e *examination) secrets(s *source.Source, endpoint source.Endpoint, h history) {
	marks := s.Marks(endpoint)
	path := config.Path("sources", s.Name(), "signing_secrets")
	if endpoint == source.Database {
		path = config.Path("sources", s.Name(), "database_webhook", "secrets")
	}
	recent := h.since(e.Now().Add(-e.Bounds.Silent))
	for i, mark := range marks {
		of := h.with(mark)
		if len(of) == 0 || e.Now().Sub(of[0].Day) < e.Bounds.Silent || recent.with(mark).requests() > 0 {
			continue
		}
		others := recent.verified().requests() > 0
		if !others && of.requests() > 0 {
			continue // the source is silent
		}
		at, _ := e.File.Item(path, i)
		meaning := fmt.Sprintf("this secret of source %s has never verified anything since %s", s.Name(), of[0].Day.Format(time.DateOnly))
		if of.requests() > 0 {
			meaning = fmt.Sprintf("this secret of source %s has verified nothing since %s, while another one does: its rotation is over", s.Name(), moment(of.last()))
		}
		e.add(secretUnused, at.String(), meaning, orEdit(e.without(s.Name(), path, i, len(marks)), at.String()))
	}
}

var variableOf = regexp.MustCompile(`\$\{[^}]+\}`)

// without is the list of secrets without one, where all of the others are variables.
func (e *examination) without(name, path string, i, n int) (r config.Remedy) {
	var rest []string
	for j := range n {
		_, label := e.File.Item(path, j)
		variable := variableOf.FindString(label)
		switch {
		case j == i:
		case variable == "":
			return r
		default:
			rest = append(rest, `"`+variable+`"`)
		}
	}
	if len(rest) == 0 {
		return r
	}
	list := "[" + strings.Join(rest, ", ") + "]"
	if strings.HasSuffix(path, "database_webhook.secrets") {
		return sourceYAML(name, "database_webhook: {secrets: "+list+"}")
	}
	return sourceYAML(name, "signing_secrets: "+list)
}
