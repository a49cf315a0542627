// Package console is the web console of the admin listener: pages made on the server, which need no JavaScript to be
// read. It hides signing in, the protection of forms, how pages are made, and how open pages are kept up to date:
//
//	c := console.New(console.Config{Operator: operator, Guard: guard, Log: log})
//	router.Mount("/", c.Handler())
//	c.Run(ctx) // feeds open pages until the context ends
package console

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"html/template"
	"io/fs"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/go-chi/chi/v5"
	"github.com/prometheus/client_golang/prometheus"

	"rollcall/internal/admin"
	"rollcall/internal/event"
	"rollcall/internal/postgres/audit"
	"rollcall/internal/postgres/history"
)

//go:embed static pages
var files embed.FS

// Config is what the console shows and changes.
type Config struct {
	Operator *admin.Operator
	// Guard knows the admin tokens; without any the console says how to set one.
	Guard *admin.Guard
	// Hosts are the names under which the console is reached, beside localhost and addresses.
	Hosts func() []string
	// Metrics are those of this replica.
	Metrics prometheus.Gatherer
	Log     *slog.Logger
}

// Console is the console of a replica.
type Console struct {
	config Config
	router *chi.Mux
	// pages are parsed when one is asked for first: they take a megabyte.
	pages func() map[string]*template.Template
	// version changes with any of the static files, which are cached for long.
	version string
	live    *live
}

// New makes a console.
func New(cfg Config) *Console {
	c := &Console{config: cfg, router: chi.NewRouter(), version: versionOf(files)}
	c.pages = sync.OnceValue(c.parse)
	c.live = newLive(c)
	c.routes()
	return c
}

// Handler serves the console.
func (c *Console) Handler() http.Handler { return c.router }

// parse reads the templates. A mistake in one is a mistake of the program.
func (c *Console) parse() map[string]*template.Template {
	pages := map[string]*template.Template{}
	own := template.FuncMap{"sources": func() []string { return c.config.Operator.Sources() }}
	base := template.Must(template.New("layout.html").Funcs(functions).Funcs(own).ParseFS(files, "pages/layout.html", "pages/parts.html"))
	names, err := fs.Glob(files, "pages/*.html")
	if err != nil {
		panic(err)
	}
	for _, name := range names {
		key := strings.TrimSuffix(strings.TrimPrefix(name, "pages/"), ".html")
		if key != "layout" && key != "parts" {
			pages[key] = template.Must(template.Must(base.Clone()).ParseFS(files, name))
		}
	}
	return pages
}

func versionOf(files fs.FS) string {
	hash := sha256.New()
	_ = fs.WalkDir(files, "static", func(path string, d fs.DirEntry, err error) error { // an embedded file has no error
		if err == nil && !d.IsDir() {
			text, _ := fs.ReadFile(files, path)
			hash.Write(text)
		}
		return nil
	})
	return hex.EncodeToString(hash.Sum(nil))[:12]
}

// routes are all pages and actions. What changes something is a POST.
func (c *Console) routes() {
	r := c.router
	r.Use(c.headers, c.checkHost)
	static := http.FileServerFS(files)
	r.Get("/static/*", func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Query().Get("v") == c.version {
			w.Header().Set("Cache-Control", "public, max-age=31536000, immutable")
		}
		static.ServeHTTP(w, r)
	})
	r.Get("/signin", c.signInPage)
	r.Post("/signin", c.signIn)
	r.Group(func(r chi.Router) {
		r.Use(c.signedIn)
		r.Post("/signout", c.signOut)
		r.Get("/", c.page("now", "Now", c.now))
		r.Get("/live", c.live.serve)
		r.Get("/events", c.page("events", "Events", c.events))
		r.Get("/events/{source}/{id}", c.page("event", "Event", c.event))
		r.Get("/replay", c.page("replay", "Replay events", c.replay))
		r.Get("/users", c.page("users", "Users", c.users))
		r.Get("/parked", c.page("parked", "Parked", c.parked))
		r.Get("/targets", c.page("targets", "Targets", c.targets))
		r.Get("/jobs", c.page("jobs", "Jobs", c.jobs))
		r.Get("/notifications", c.page("notifications", "Notifications", c.notifications))
		r.Get("/try", c.page("try", "Try it", c.try))
		r.Get("/confirm/{action}", c.page("confirm", "Confirm", c.confirm))
		r.Post("/do/{action}", c.do)
		r.Get("/done/{action}", c.page("done", "Done", c.done))
	})
	r.NotFound(func(w http.ResponseWriter, r *http.Request) {
		c.fail(w, r, http.StatusNotFound, "There is no such page.")
	})
}

// headers keep other sites from framing the console, and the browser from running or loading anything but its own.
func (c *Console) headers(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Security-Policy", "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'")
		h.Set("X-Frame-Options", "DENY")
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("Cross-Origin-Opener-Policy", "same-origin")
		h.Set("Cache-Control", "no-store")
		next.ServeHTTP(w, r)
	})
}

// view is what every page gets.
type view struct {
	Title   string
	Status  int    // of the answer; 0 for 200
	Path    string // of the menu's entry
	Version string
	Session *session
	Now     time.Time
	Data    any
}

// notFoundError says that what a page is about does not exist.
type notFoundError struct{ message string }

func (e *notFoundError) Error() string { return e.message }

// page answers with a page of some data. An error is a page of its own; its text is for operators, who are signed in.
func (c *Console) page(name, title string, data func(*http.Request) (any, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		value, err := data(r)
		var missing *notFoundError
		if errors.As(err, &missing) {
			c.fail(w, r, http.StatusNotFound, missing.message)
			return
		}
		if err != nil {
			c.config.Log.Warn("a page of the console can't be made", "page", name, "error", err)
			c.fail(w, r, http.StatusServiceUnavailable, "The database does not answer, or refuses: "+err.Error())
			return
		}
		c.write(w, r, name, view{Title: title, Data: value})
	}
}

// fail answers with a page that says what went wrong.
func (c *Console) fail(w http.ResponseWriter, r *http.Request, status int, message string) {
	c.write(w, r, "failure", view{Title: http.StatusText(status), Status: status, Data: message})
}

func (c *Console) write(w http.ResponseWriter, r *http.Request, name string, v view) {
	v.Version, v.Session, v.Now = c.version, sessionOf(r.Context()), time.Now().UTC()
	v.Path = "/" + strings.SplitN(strings.TrimPrefix(r.URL.Path, "/"), "/", 2)[0]
	var out bytes.Buffer
	if err := c.pages()[name].ExecuteTemplate(&out, "layout.html", v); err != nil {
		c.config.Log.Error("a template of the console fails", "page", name, "error", err)
		http.Error(w, "this page can't be made; the log says why", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.WriteHeader(cmp.Or(v.Status, http.StatusOK))
	_, _ = out.WriteTo(w) // a client who left has no use for it
}

// entry is one of the menu.
type entry struct{ Path, Name string }

var menu = []entry{
	{"/", "Now"}, {"/events", "Events"}, {"/users", "Users"}, {"/parked", "Parked"}, {"/targets", "Targets"}, {"/jobs", "Jobs"}, {"/notifications", "Notifications"}, {"/try", "Try it"},
}

// functions are those of the templates.
var functions = template.FuncMap{
	"time":    func(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05") },
	"iso":     func(t time.Time) string { return t.UTC().Format(time.RFC3339Nano) },
	"tone":    tone,
	"printed": event.Printable,
	"menu":    func() []entry { return menu },
	"row":     func(e history.Event, now time.Time) rowData { return rowData{e, now} },
	"of":      func(id string, s audit.Status) statusOf { return statusOf{s, id} },
	"grouped": grouped,
	"pretty":  pretty,
	"lines":   func(text string) []string { return strings.Split(strings.TrimSpace(text), "\n") },
}

// tone is the class of an outcome or a state. Its word stands beside the colour.
func tone(state string) string {
	switch state {
	case "applied", "announced", "admitted", "succeeded", "ok", "present", "ready", "installed", "delivered":
		return "good"
	case "notice", "warning", "parked", "stale", "duplicate", "ignored", "refused", "waiting", "running", "stopped", "missing", "outdated", "extra", "different", "pending", "skipped":
		return "fair"
	case "":
		return ""
	}
	return "bad"
}

// pretty lays a JSON document out.
func pretty(document json.RawMessage) string {
	var out bytes.Buffer
	if json.Indent(&out, document, "", "  ") != nil {
		out.Reset()
		out.Write(document)
	}
	lines := strings.Split(out.String(), "\n")
	for i, line := range lines {
		lines[i] = event.Printable(line)
	}
	return strings.Join(lines, "\n")
}

// grouped is a number with spaces between thousands.
func grouped(n int64) string {
	text := fmt.Sprint(n)
	for i := len(text) - 3; i > 0; i -= 3 {
		text = text[:i] + "\u202f" + text[i:]
	}
	return text
}
