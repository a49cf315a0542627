package console

import (
	"bytes"
	"context"
	"net/http"
	"strings"
	"sync"
	"time"

	"rollcall/internal/postgres/connection"
	"rollcall/internal/postgres/history"
)

const (
	// livePause is the pause between two looks at the database for all open pages together.
	livePause = 2 * time.Second
	// maxPages is how many open pages are kept up to date at once; each takes a connection.
	maxPages = 512
	// sendTimeout bounds a write to an open page; a slower one is closed and connects again.
	sendTimeout = 10 * time.Second
	// liveEvents is how many new events of one look are sent at most; a page that is loaded anew has them all.
	liveEvents = 100
)

// live keeps open pages up to date by server-sent events. The database is asked once for all pages, and not at all
// while none is open.
type live struct {
	console *Console
	history *recent

	mu    sync.Mutex
	pages map[*openPage]bool
	ended bool
}

// update is what one look has found: the parts of pages, by the page's name, and new events.
type update struct {
	parts  map[string]string
	events []liveEvent
}

// liveEvent is a new event with its row of the list.
type liveEvent struct {
	history.Event

	row string
}

// openPage is a page that is open in a browser.
type openPage struct {
	name    string // now, jobs or events
	filter  eventFilter
	updates chan *update
}

func newLive(c *Console) *live {
	return &live{console: c, history: newRecent(c.config.Metrics), pages: map[*openPage]bool{}}
}

// Run feeds open pages until the context ends, and then lets them go.
func (c *Console) Run(ctx context.Context) {
	l := c.live
	defer l.end()
	var newest *string // names the newest event of the last look; nil before the first
	for ctx.Err() == nil {
		l.history.note(time.Now())
		if l.open() > 0 {
			u, next, err := l.look(ctx, newest)
			newest = next
			if err == nil {
				l.send(u)
			} else if ctx.Err() == nil {
				c.config.Log.Debug("open pages of the console are not up to date", "error", err)
			}
		} else {
			newest = nil
		}
		_ = connection.Pause(ctx, livePause)
	}
}

func (l *live) open() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.pages)
}

func (l *live) end() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.ended = true
	for p := range l.pages {
		close(p.updates)
	}
	clear(l.pages)
}

// send gives an update to every page. One that is still busy with an earlier one is let go, and connects again.
func (l *live) send(u *update) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for p := range l.pages {
		select {
		case p.updates <- u:
		default:
			delete(l.pages, p)
			close(p.updates)
		}
	}
}

func (l *live) add(p *openPage) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.ended || len(l.pages) >= maxPages {
		return false
	}
	l.pages[p] = true
	return true
}

func (l *live) remove(p *openPage) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.pages, p)
}

// serve keeps a page up to date until it is closed.
func (l *live) serve(w http.ResponseWriter, r *http.Request) {
	p := &openPage{name: r.FormValue("page"), filter: eventFilterOf(r.URL.Query()), updates: make(chan *update, 2)}
	if !l.add(p) {
		http.Error(w, "too many pages are open, or the service is stopping", http.StatusServiceUnavailable)
		return
	}
	defer l.remove(p)
	to := http.NewResponseController(w)
	_ = to.SetReadDeadline(time.Time{}) // it stays open; a connection that can't set it ends as others do
	w.Header().Set("Content-Type", "text/event-stream")
	ping := time.NewTicker(15 * time.Second)
	defer ping.Stop()
	text := ": open\n\n"
	for {
		_ = to.SetWriteDeadline(time.Now().Add(sendTimeout))
		if _, err := w.Write([]byte(text)); err != nil || to.Flush() != nil {
			return
		}
		select {
		case <-r.Context().Done():
			return
		case u, open := <-p.updates:
			if !open {
				return
			}
			text = p.text(u)
		case <-ping.C:
			text = ": open\n\n"
		}
	}
}

// text is what an update is for a page.
func (p *openPage) text(u *update) string {
	if p.name != "events" {
		return message("part", u.parts[p.name])
	}
	var rows strings.Builder
	for _, e := range u.events {
		if p.filter.matches(&e.Event) {
			rows.WriteString(e.row)
		}
	}
	if rows.Len() == 0 {
		return ": nothing\n\n"
	}
	return message("rows", rows.String())
}

// message is a server-sent event.
func message(kind, html string) string {
	return "event: " + kind + "\ndata: " + strings.ReplaceAll(strings.TrimSpace(html), "\n", "\ndata: ") + "\n\n"
}

// matches reports whether a new event is of those that a filter chooses; moments don't matter for it.
func (f eventFilter) matches(e *history.Event) bool {
	is := func(want, got string) bool { return want == "" || want == got }
	return is(f.Source, e.Source) && is(f.User, e.User) && is(f.Type, e.Type) && is(f.Outcome, e.Outcome)
}

// look finds what is new since an event; at first nothing is.
func (l *live) look(ctx context.Context, since *string) (*update, *string, error) {
	c := l.console
	data, err := l.nowData(ctx)
	if err != nil {
		return nil, since, err
	}
	u := &update{parts: map[string]string{}}
	if u.parts["now"], err = c.part("now", "now-part", data); err != nil {
		return nil, since, err
	}
	tasks, err := c.config.Operator.Tasks.Page(ctx, 0, pageSize)
	if err != nil {
		return nil, since, err
	}
	if u.parts["jobs"], err = c.part("jobs", "tasks", tasks); err != nil {
		return nil, since, err
	}
	h := c.config.Operator.DB.History()
	newest, err := h.List(ctx, history.Filter{}, history.Paging{Limit: liveEvents})
	if err != nil {
		return nil, since, err
	}
	first := ""
	if len(newest.Events) > 0 {
		first = eventName(&newest.Events[0])
	}
	if since == nil {
		return u, &first, nil
	}
	for i := range newest.Events {
		e := &newest.Events[i]
		if eventName(e) == *since {
			break
		}
		row, err := c.part("events", "event-row", rowData{*e, time.Now().UTC()})
		if err != nil {
			return nil, since, err
		}
		u.events = append(u.events, liveEvent{*e, row})
	}
	return u, &first, nil
}

func eventName(e *history.Event) string { return e.Source + "\x00" + e.ID }

// rowData is a row of the list of events.
type rowData struct {
	history.Event

	Now time.Time
}

// part is one part of a page.
func (c *Console) part(page, name string, data any) (string, error) {
	var out bytes.Buffer
	err := c.pages()[page].ExecuteTemplate(&out, name, data)
	return out.String(), err
}

func (l *live) nowData(ctx context.Context) (nowData, error) {
	o := l.console.config.Operator
	d := nowData{Status: o.Status(ctx), Series: l.history.series()}
	tasks, err := o.Tasks.Page(ctx, 0, 20)
	for _, t := range tasks {
		if t.EndedAt == nil {
			d.Tasks = append(d.Tasks, t)
		}
	}
	return d, err
}
