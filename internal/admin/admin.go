// Package admin is the admin API: what operators ask and change over HTTP, below /admin/v1. It hides who may, how a
// change that comes twice is done once, and how an answer or an error becomes JSON. What it does is done by the
// functions that the command line calls, too:
//
//	a := admin.New(&admin.Operator{DB: db, Tasks: list, Log: log}, admin.NewGuard(tokens))
//	router.Mount("/admin/v1", a.Handler())
package admin

import (
	"encoding/json"
	"net/http"
	"path"
	"reflect"
	"strings"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humachi"
	"github.com/go-chi/chi/v5"

	"rollcall/internal/event"
)

// Admin is the admin API.
type Admin struct {
	operator *Operator
	guard    *Guard
	router   *chi.Mux
	api      huma.API
}

// New makes the API.
func New(o *Operator, guard *Guard) *Admin {
	a := &Admin{operator: o, guard: guard, router: chi.NewRouter()}
	a.router.Use(a.authenticate, a.once)
	a.router.NotFound(func(w http.ResponseWriter, r *http.Request) {
		a.problem(w, r, problem{http.StatusNotFound, "there is no such operation; GET /admin/v1/openapi.json lists all", "no such path"})
	})
	a.router.MethodNotAllowed(func(w http.ResponseWriter, r *http.Request) {
		a.problem(w, r, problem{http.StatusMethodNotAllowed, "this path takes other methods; GET /admin/v1/openapi.json lists them", "no such method"})
	})
	a.api = humachi.New(a.router, settings(o.Version))
	a.register()
	return a
}

// settings are those of huma: JSON alone, no page that loads scripts from elsewhere, no links to schemas in answers.
func settings(version string) huma.Config {
	s := huma.DefaultConfig("Rollcall admin API", version)
	s.DocsPath, s.SchemasPath, s.CreateHooks = "", "", nil
	s.RejectUnknownQueryParameters = true
	s.Servers = []*huma.Server{{URL: Path}}
	s.Info.Description = "What a Rollcall service does, what is wrong with it, and its repair. Errors are problem+json (RFC 9457). " +
		"Lists go by pages: next is the cursor of the next one. A POST may carry an Idempotency-Key; " +
		"sent again within a day, it is answered as the first time and done once."
	s.Components.Schemas = huma.NewMapRegistry("#/components/schemas/", schemaName)
	s.Components.SecuritySchemes = map[string]*huma.SecurityScheme{
		"token": {Type: "http", Scheme: "bearer", Description: "admin_token, or one of admin_tokens, of the configuration"},
	}
	s.Security = []map[string][]string{{"token": {}}}
	return s
}

// schemaName is the name of a type in the description: that of another package comes with the package's.
func schemaName(t reflect.Type, hint string) string {
	name := huma.DefaultSchemaNamer(t, hint)
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	from := path.Base(t.PkgPath())
	if t.Name() == "" || from == "admin" || from == "v2" {
		return name
	}
	return strings.ToUpper(from[:1]) + from[1:] + name
}

// Path is where the API is.
const Path = "/admin/v1"

// Handler serves the API below Path.
func (a *Admin) Handler() http.Handler { return a.router }

// problem is an error that is answered before huma has the request.
type problem struct {
	status int
	detail string
	why    string // for the log; empty for no line
}

func (a *Admin) problem(w http.ResponseWriter, r *http.Request, p problem) {
	if p.why != "" {
		a.operator.Log.Warn("admin request refused", "method", event.Printable(r.Method), "path", event.Printable(r.URL.Path), "status", p.status, "reason", p.why)
	}
	w.Header().Set("Content-Type", "application/problem+json")
	w.WriteHeader(p.status)
	body := struct {
		Title  string `json:"title"`
		Status int    `json:"status"`
		Detail string `json:"detail"`
	}{http.StatusText(p.status), p.status, p.detail}
	if err := json.NewEncoder(w).Encode(body); err != nil {
		return // a client who left has no use for it
	}
}

// operation describes an operation by its method and path. The summary is its name, too.
func operation(method, path, summary string, errors ...int) huma.Operation {
	return huma.Operation{
		OperationID: strings.ReplaceAll(strings.ToLower(summary), " ", "-"), Method: method, Path: path, Summary: summary, Errors: errors,
	}
}
