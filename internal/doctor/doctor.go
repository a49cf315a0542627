// Package doctor finds what is wrong with a set-up: the configuration, the database, the targets, the sources and
// what runs. It judges what others read, and writes nothing. Codes describes all that it can find:
//
//	d := doctor.Examine(ctx, doctor.Config{File: cfg, DB: db, Sources: sources})
//	for _, f := range d.Findings {
//		fmt.Println(f.Place, f.Code, f.Meaning, f.Remedy.Text)
//	}
package doctor

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"rollcall/internal/clerk"
	"rollcall/internal/config"
	"rollcall/internal/event"
	"rollcall/internal/postgres"
	"rollcall/internal/postgres/condition"
	"rollcall/internal/postgres/outbox"
	"rollcall/internal/postgres/sqlstate"
	"rollcall/internal/postgres/survey"
	"rollcall/internal/source"
	"rollcall/internal/target"
)

// Config is what is examined.
type Config struct {
	File    *config.Config
	DB      *postgres.DB
	Sources []*source.Source
	// Captures are those that the sources may have.
	Captures []outbox.Capture
	// Claims are those that the sources add to access tokens.
	Claims []target.Claims
	// APIs are the clients of the providers' APIs, by source.
	APIs map[string]*clerk.API
	// Conditions are those about sign-ups, by source.
	Conditions map[string]*condition.Condition
	// Targets says where what is wrong with the targets is known from.
	Targets TargetsFrom
	// Client asks auth servers for their version; http.DefaultClient when nil.
	Client *http.Client
	// Bounds say from where on something is too much; Defaults when zero.
	Bounds Bounds
	// Now is the clock of this machine; time.Now when nil.
	Now func() time.Time
}

// TargetsFrom says where what is wrong with the targets is known from.
type TargetsFrom int

// A command compiles the targets; a service knows what it has found, and looks after them itself.
const (
	Compiled TargetsFrom = iota
	InService
)

// Finding is one thing that is wrong.
type Finding struct {
	Code     target.Code   `json:"code"`
	Severity Severity      `json:"severity"`
	Place    string        `json:"place"` // file:line:column of the configuration, or a thing of the database
	Meaning  string        `json:"meaning"`
	Remedy   config.Remedy `json:"remedy"`
}

// Unseen is a check without a result.
type Unseen struct {
	Check string `json:"check"`
	Why   string `json:"why"`
}

// Diagnosis is what an examination has come to.
type Diagnosis struct {
	Findings []Finding `json:"findings"` // the gravest first
	Unseen   []Unseen  `json:"unseen"`
}

// Wrong reports whether something is wrong, beyond what is only worth knowing.
func (d *Diagnosis) Wrong() bool {
	return slices.ContainsFunc(d.Findings, func(f Finding) bool { return f.Severity != Notice })
}

// checkTimeout bounds one check; the next goes on. A target whose table is locked takes five seconds.
const checkTimeout = 10 * time.Second

// check is one part of an examination.
type check struct {
	name string
	do   func(*examination, context.Context) error
}

// checks run in this order. Those behind the first two need the schema.
var checks = []check{
	{"the database", (*examination).server},
	{"the schema rollcall", (*examination).schema},
	{"the rights of roles", (*examination).rights},
	{"the targets", (*examination).targets},
	{"the backfills", (*examination).backfills},
	{"foreign keys without an index", (*examination).unindexed},
	{"the tables of users", (*examination).usersTables},
	{"the captures", (*examination).captures},
	{"triggers of others on the tables of users", (*examination).triggers},
	{"the claims of access tokens", (*examination).claims},
	{"what the sources send", (*examination).received},
	{"parked users", (*examination).parked},
	{"users with kept columns", (*examination).kept},
	{"the last check of the targets", (*examination).checked},
	{"the reconciliations", (*examination).reconciliations},
	{"the jobs", (*examination).jobs},
	{"the replicas", (*examination).replicas},
	{"the notifications", (*examination).notifications},
	{"the events", (*examination).events},
	{"the providers' APIs", (*examination).apis},
	{"the auth servers", (*examination).authServers},
	{"the conditions about sign-ups", (*examination).conditions},
}

// examination is one under way.
type examination struct {
	Config

	survey survey.Survey
	found  Diagnosis
	// stopped says why the checks that need the database or the schema are left out; "" while they are not.
	stopped string
	role    string    // that Rollcall works as
	since   time.Time // when the schema was made
}

// Examine runs all checks. One that fails, or may not see something, is among the unseen; the others go on.
func Examine(ctx context.Context, cfg Config) *Diagnosis {
	e := start(cfg)
	e.examine(ctx)
	return e.found.sorted()
}

func start(cfg Config) *examination {
	e := &examination{Config: cfg, survey: survey.Survey{Pool: cfg.DB.Pool()}}
	if e.Now == nil {
		e.Now = time.Now
	}
	e.Bounds = e.Bounds.orDefaults()
	return e
}

func (e *examination) examine(ctx context.Context) {
	e.file()
	e.rules()
	for _, c := range checks {
		e.run(ctx, c)
	}
}

// File is the diagnosis of a configuration that can't be used: the database is not looked at.
func File(problems config.Problems) *Diagnosis {
	e := &examination{}
	for _, p := range problems {
		meaning, remedy := remedyOfProblem(p)
		e.add(target.Code(p.Code), p.Pos.String(), meaning, remedy)
	}
	e.found.Unseen = []Unseen{{Check: "all else", Why: "the configuration can't be used; correct it first"}}
	return e.found.sorted()
}

func (e *examination) run(ctx context.Context, c check) {
	if e.stopped != "" {
		e.unseen(c.name, e.stopped)
		return
	}
	ctx, cancel := context.WithTimeout(ctx, checkTimeout)
	defer cancel()
	err := event.Safely(func() error { return c.do(e, ctx) })
	switch {
	case err == nil:
	case sqlstate.Of(err) == sqlstate.InsufficientPrivilege:
		e.unseen(c.name, fmt.Sprintf("role %s may not see it: %v", target.Quote(e.role), err))
	case errors.Is(ctx.Err(), context.DeadlineExceeded):
		e.unseen(c.name, fmt.Sprintf("it took longer than %v", checkTimeout))
	default:
		e.unseen(c.name, err.Error())
	}
}

func (e *examination) unseen(check, why string) {
	e.found.Unseen = append(e.found.Unseen, Unseen{check, why})
}

// add adds a finding, with the severity of its kind.
func (e *examination) add(code target.Code, place, meaning string, remedy config.Remedy) {
	f := Finding{Code: code, Severity: KindOf(code).Severity, Place: place, Meaning: meaning, Remedy: remedy}
	if !slices.Contains(e.found.Findings, f) {
		e.found.Findings = append(e.found.Findings, f)
	}
}

// sorted puts the gravest first, and otherwise keeps the order of the checks.
func (d *Diagnosis) sorted() *Diagnosis {
	if d.Findings == nil {
		d.Findings = []Finding{}
	}
	if d.Unseen == nil {
		d.Unseen = []Unseen{}
	}
	slices.SortStableFunc(d.Findings, func(a, b Finding) int { return cmp.Compare(ranks[a.Severity], ranks[b.Severity]) })
	return d
}

// at is where a field of the configuration stands, or the nearest field around it that the file has.
func (e *examination) at(path ...string) string {
	for ; len(path) > 0; path = path[:len(path)-1] {
		if pos := e.File.At(config.Path(path...)); pos.Line > 0 {
			return pos.String()
		}
		if len(path) == 2 && path[0] == "sources" {
			return e.source(path[1]).Pos.String()
		}
	}
	return "the configuration"
}

// source is what the file says of a source.
func (e *examination) source(name string) config.Source {
	i := slices.IndexFunc(e.File.Sources, func(s config.Source) bool { return s.Name == name })
	return e.File.Sources[i]
}

// sql, command and yaml make remedies.
func sql(format string, args ...any) config.Remedy {
	return config.Remedy{Kind: config.SQL, Text: fmt.Sprintf(format, args...) + ";"}
}

func command(format string, args ...any) config.Remedy {
	return config.Remedy{Kind: config.Command, Text: fmt.Sprintf(format, args...)}
}

// yaml is a field of a source or of the whole file, indented from its first line on.
func yaml(lines ...string) config.Remedy {
	return config.Remedy{Kind: config.YAML, Text: strings.Join(lines, "\n")}
}

// sourceYAML is a field of a source.
func sourceYAML(source string, lines ...string) config.Remedy {
	return yaml("sources:\n  " + source + ":\n    " + strings.Join(lines, "\n    "))
}
