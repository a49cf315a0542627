package console

import (
	"errors"
	"html/template"

	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/go-chi/chi/v5"

	"rollcall/internal/admin"
	"rollcall/internal/config"
	"rollcall/internal/event"
	"rollcall/internal/postgres/audit"
	"rollcall/internal/postgres/history"
	"rollcall/internal/postgres/tasks"
	"rollcall/internal/postgres/transitions"
	"rollcall/internal/replay"
)

// pageSize is how many rows a list shows at once.
const pageSize = 50

// nowData is what the page Now shows; its part in the middle is sent again to open pages.
type nowData struct {
	Status admin.Status
	Tasks  []tasks.Task // that are not over
	Series []series
}

func (c *Console) now(r *http.Request) (any, error) {
	return c.live.nowData(r.Context())
}

// eventFilter is the form above the events; it stands in the URL.
type eventFilter struct {
	Source, User, Type, Outcome, Since, Until string
}

func eventFilterOf(q url.Values) eventFilter {
	get := func(name string) string { return strings.TrimSpace(q.Get(name)) }
	return eventFilter{get("source"), get("user"), get("type"), get("outcome"), get("since"), get("until")}
}

// Query is the filter as a query of a link.
func (f eventFilter) Query() template.URL {
	q := url.Values{}
	for name, value := range map[string]string{
		"source": f.Source, "user": f.User, "type": f.Type, "outcome": f.Outcome, "since": f.Since, "until": f.Until,
	} {
		if value != "" {
			q.Set(name, value)
		}
	}
	return template.URL(q.Encode()) //nolint:gosec // it is encoded, and the templates put it behind a question mark
}

// choice is what the form asks for; the second result is what is wrong with it.
func (f eventFilter) choice(now time.Time) (admin.EventChoice, string) {
	out := admin.EventChoice{Source: f.Source, User: f.User, Type: f.Type, Outcome: f.Outcome}
	for _, m := range []struct {
		text string
		to   *time.Time
	}{{f.Since, &out.Since}, {f.Until, &out.Until}} {
		if m.text == "" {
			continue
		}
		at, err := config.Moment(m.text, now)
		if err != nil {
			return out, err.Error()
		}
		*m.to = at
	}
	return out, ""
}

func list(text string) []string {
	if text == "" {
		return nil
	}
	return []string{text}
}

// recorded are the outcomes that events are recorded with.
var recorded = []event.Outcome{
	event.Applied, event.Parked, event.Stale, event.Announced, event.Refused, event.UndecodableBody, event.NeverCreated,
}

// eventsData is what the page of events shows.
type eventsData struct {
	Filter            eventFilter
	Sources, Outcomes []string
	Wrong             string
	Page              history.Page
	First             bool // the newest, to which live ones are added
}

func (c *Console) events(r *http.Request) (any, error) {
	d := eventsData{Filter: eventFilterOf(r.URL.Query()), Sources: c.config.Operator.Sources(), First: r.FormValue("after") == ""}
	for _, o := range recorded {
		d.Outcomes = append(d.Outcomes, string(o))
	}
	choice, wrong := d.Filter.choice(time.Now())
	if d.Wrong = wrong; wrong != "" {
		return d, nil
	}
	var err error
	d.Page, err = c.config.Operator.DB.History().List(r.Context(), choice.Filter(), history.Paging{Limit: pageSize, After: r.FormValue("after")})
	return d, err
}

// choiceFields are what a form carries of a choice of events, and how many they are.
var choiceFields = []string{"source", "user", "type", "outcome", "since", "until", "events"}

// replayData is what the page shows before a choice of events is replayed.
type replayData struct {
	Filter eventFilter
	Wrong  string
	Fixed  eventFilter // with moments that do not move
	admin.ForeseenChoice
}

// All reports whether what is foreseen is about all of the events.
func (d *replayData) All() bool { return d.Events == int64(d.Tried) }

func (c *Console) replay(r *http.Request) (any, error) {
	d := &replayData{Filter: eventFilterOf(r.URL.Query())}
	now := time.Now().UTC()
	choice, wrong := d.Filter.choice(now)
	if wrong == "" && choice.Since.IsZero() {
		wrong = "say in the filter since when: nothing older is replayed"
	}
	if d.Wrong = wrong; wrong != "" {
		return d, nil
	}
	if choice.Until.IsZero() {
		choice.Until = now
	}
	d.Fixed = d.Filter
	d.Fixed.Since, d.Fixed.Until = choice.Since.UTC().Format(time.RFC3339Nano), choice.Until.UTC().Format(time.RFC3339Nano)
	var err error
	d.ForeseenChoice, err = c.config.Operator.ForeseeChoice(r.Context(), choice)
	return d, err
}

// eventData is what the page of an event shows.
type eventData struct {
	admin.EventBody

	Foreseen *replay.Foreseen
	// Unforeseen is why it can't be said what a replay would do.
	Unforeseen string
	Path       string
}

func (c *Console) event(r *http.Request) (any, error) {
	source, id := chi.URLParam(r, "source"), chi.URLParam(r, "id")
	d := eventData{Path: "/events/" + url.PathEscape(source) + "/" + url.PathEscape(id)}
	var err error
	reveal := r.FormValue("reveal") != ""
	d.EventBody, err = c.config.Operator.Body(r.Context(), sessionOf(r.Context()).Holder, admin.EventKey{Source: source, ID: id}, reveal)
	if errors.Is(err, admin.ErrNoEvent) {
		return nil, &notFoundError{"There is no such event, or retention has removed it."}
	}
	if err != nil {
		return nil, err
	}
	if d.Foreseen, err = c.config.Operator.Foresee(r.Context(), source, id); err != nil {
		d.Unforeseen = err.Error()
	}
	return d, nil
}

// usersData is what the search of users shows.
type usersData struct {
	Who   string
	Users []admin.User
}

// statusOf is how a target has a row of a roll.
type statusOf struct {
	audit.Status

	ID string // of the row
}

func (c *Console) users(r *http.Request) (any, error) {
	d := usersData{Who: strings.TrimSpace(r.FormValue("who"))}
	if d.Who == "" {
		return d, nil
	}
	var err error
	d.Users, err = c.config.Operator.Users(r.Context(), d.Who)
	return d, err
}

// parkedData is what the page of parked rows shows.
type parkedData struct{ Groups []audit.ParkedGroup }

func (c *Console) parked(r *http.Request) (any, error) {
	groups, err := c.config.Operator.Parked(r.Context(), nil, nil)
	return parkedData{groups}, err
}

// notificationsData is what the page of notifications shows.
type notificationsData struct {
	Filter transitions.Filter
	States []string
	admin.Notifications
}

func (c *Console) notifications(r *http.Request) (any, error) {
	d := notificationsData{
		Filter: transitions.Filter{Name: r.FormValue("name"), State: r.FormValue("state")},
		States: []string{transitions.Pending, transitions.Delivered, transitions.Skipped, transitions.Failed},
	}
	var err error
	d.Notifications, err = c.config.Operator.Notifications(r.Context(), d.Filter, pageSize)
	return d, err
}

func (c *Console) targets(r *http.Request) (any, error) {
	return c.config.Operator.Targets(r.Context())
}

func (c *Console) jobs(r *http.Request) (any, error) {
	return c.config.Operator.Tasks.Page(r.Context(), 0, pageSize)
}
