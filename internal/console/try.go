package console

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"rollcall/internal/admin"
	"rollcall/internal/event"
	"rollcall/internal/postgres/settle"
	"rollcall/internal/trial"
)

// madeUpUsers is among how many a form chooses one: few enough for a short id, enough to meet none again soon.
const madeUpUsers = 1_000_000

// tryData is what the page shows on which samples are tried.
type tryData struct {
	Offers []trial.Offer
	Sample trial.Sample // Source is "" before one is chosen
	Fields []trial.Field
	// Set are the further changes, as they were written.
	Set string
	// Wrong is why there is no such sample, or why it can't be tried.
	Wrong    string
	Foreseen *triedData
}

// triedData is a sample with what it would change, or has changed.
type triedData struct {
	*trial.Tried

	Targets []triedTarget
	// Warning says what sending it means.
	Warning string
	// Send is the query of the page that asks whether to send it, Again that of this page.
	Send, Again string
	// Undo are the pages that foresee the deletion of what it has made.
	Undo []undo
}

// triedTarget is a target that follows what a sample is about.
type triedTarget struct {
	Name, Action   string
	Columns        []triedColumn
	Parked, Unread string
}

type triedColumn struct{ Name, Before, After string }

type undo struct{ Event, Query string }

// try shows what a sample would change. It changes nothing.
func (c *Console) try(r *http.Request) (any, error) {
	q := r.URL.Query()
	t := c.config.Operator.Trial()
	d := tryData{Set: q.Get("set"), Offers: t.Offers()}
	if q.Get("event") == "" {
		return d, nil
	}
	d.Sample = sampleOf(q)
	d.Fields = t.Fields(d.Sample)
	for i := range d.Fields {
		f := &d.Fields[i]
		if value := q.Get(f.Path); q.Has(f.Path) && value != f.Value {
			d.Sample.Set = append(d.Sample.Set, f.Becomes(value))
			f.Value = value
		}
	}
	tried, err := c.config.Operator.ForeseeSample(r.Context(), d.Sample)
	var misfit *admin.MisfitError
	switch {
	case errors.As(err, &misfit):
		d.Wrong, err = misfit.Message, nil
	case err == nil:
		d.Foreseen = c.tried(tried)
	}
	return d, err
}

// sampleOf is the sample that a form describes. One without a user is about any of them.
func sampleOf(q url.Values) trial.Sample {
	s := trial.Sample{Source: q.Get("source"), Event: q.Get("event")}
	if from, event, both := strings.Cut(s.Event, "/"); both { // a list of all sources has one name for both
		s.Source, s.Event = from, event
	}
	if n, err := strconv.Atoi(q.Get("user")); err == nil && n > 0 {
		s.User = min(n, madeUpUsers)
	} else {
		s.User = 2 + rand.IntN(madeUpUsers-2) //nolint:gosec // nobody gains by guessing it
	}
	for line := range strings.Lines(q.Get("set")) {
		if line = strings.TrimSpace(line); line != "" {
			s.Set = append(s.Set, line)
		}
	}
	return s
}

// queryOf is the query of a sample, on this page and on the one that asks.
func queryOf(s trial.Sample) url.Values {
	q := url.Values{"source": {s.Source}, "event": {s.Event}, "user": {strconv.Itoa(s.User)}}
	if len(s.Set) > 0 {
		q.Set("set", strings.Join(s.Set, "\n"))
	}
	return q
}

// tried arranges what was tried by the targets that follow it.
func (c *Console) tried(t *trial.Tried) *triedData {
	q := queryOf(t.Sample)
	again := "/try?" + q.Encode()
	q.Set("back", again)
	d := &triedData{Tried: t, Again: again, Send: "/confirm/sample?" + q.Encode(), Warning: warning(t)}
	for _, s := range t.Undo {
		d.Undo = append(d.Undo, undo{s.Event, "/try?" + queryOf(s).Encode()})
	}
	for _, s := range c.config.Operator.DB.Targets().States() {
		d.Targets = append(d.Targets, c.triedTargets(t, s)...)
	}
	return d
}

// warning says what sending a sample means.
func warning(t *trial.Tried) string {
	switch {
	case t.Outcome != string(event.Applied) && t.Outcome != string(event.Parked):
		return "Sending it is recorded as an event of the provider is, and changes no row."
	case !t.MadeUp:
		return "A change names " + t.ID + ", so this is about a real row, if there is one: sending it changes what the roll and the targets have, " +
			"until the provider says something newer. A deletion is final."
	case len(t.Undo) > 0:
		return "Sending it writes made-up data into the roll and into the targets above, where applications and triggers see them. " +
			"The page after it offers to delete them again."
	case strings.HasSuffix(t.Event, "delete") || strings.HasSuffix(t.Event, "deleted"):
		return "Sending it deletes what the samples before have made. It is final: this number can't be used again."
	}
	return "Sending it writes made-up data into the roll and into the targets above, where applications and triggers see them. " +
		"No event of " + t.Source + " deletes them again: it has no endpoint that announces deletions."
}

// triedTargets are the rows of a target that differ; or the target as such, where it follows what was tried.
func (c *Console) triedTargets(t *trial.Tried, s settle.State) (list []triedTarget) {
	as := triedTarget{Name: s.Name, Parked: t.Parked[s.Name], Unread: t.Unread[s.Name]}
	if s.Outage != "" {
		as.Unread = "out of service: " + s.Outage
	}
	for _, change := range t.Changes {
		if change.Target != s.Name {
			continue
		}
		one := as
		one.Action = change.Action
		for _, column := range change.Columns {
			one.Columns = append(one.Columns, triedColumn{column.Column, shown(column.Old), shown(column.New)})
		}
		list = append(list, one)
	}
	compiled := c.config.Operator.DB.Targets().Named(s.Name)
	if follows := compiled == nil || compiled.Roll.Name == t.Roll; list == nil && (follows || as.Parked != "") {
		list = append(list, as)
	}
	return list
}

// shown is a value for people: a text without quotes, nothing for null.
func shown(value json.RawMessage) string {
	var text *string
	if json.Unmarshal(value, &text) != nil {
		return string(value)
	}
	switch {
	case text == nil:
		return ""
	case *text == "":
		return `""` // not none
	}
	return *text
}

// sendSample sends a sample. What has become of it is kept for the page that follows.
func sendSample(ctx context.Context, o *admin.Operator, by string, form url.Values) (done, error) {
	tried, err := o.SendSample(ctx, by, sampleOf(form))
	if err != nil {
		return done{}, err
	}
	text, err := json.Marshal(tried)
	return done{string(text), "/try?" + queryOf(tried.Sample).Encode()}, err
}

// sampleSent is what a sample has changed.
func (c *Console) sampleSent(kept []byte) (string, *triedData, error) {
	var tried trial.Tried
	if err := json.Unmarshal(kept, &tried); err != nil {
		return "", nil, fmt.Errorf("read what a sample has changed: %w", err)
	}
	return "The sample was sent.", c.tried(&tried), nil
}
