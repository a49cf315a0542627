// Package sql holds the SQL that Rollcall brings along: the migrations of its schema
// and the statements that do not depend on a target.
package sql

import (
	"embed"
	"io/fs"
	"strings"
)

//go:embed migrations/*.sql queries/*.sql capture/*.sql
var files embed.FS

// Migration is one step of the schema rollcall. Its version is its place in the
// list, from 1; a migration that has been released never changes.
type Migration struct {
	Name string // the file's name without .sql
	SQL  string
}

// Migrations returns every migration in the order of application.
func Migrations() []Migration {
	names, err := fs.Glob(files, "migrations/*.sql") // sorted by name
	if err != nil {
		panic(err) // the pattern is a constant
	}
	list := make([]Migration, len(names))
	for i, name := range names {
		list[i] = Migration{
			Name: strings.TrimSuffix(strings.TrimPrefix(name, "migrations/"), ".sql"),
			SQL:  read(name),
		}
	}
	return list
}

// The statements that do not depend on a target. Their parameters are described in
// the files.
var (
	Settings        = read("queries/settings.sql")
	Lock            = read("queries/lock.sql")
	MarkStale       = read("queries/mark_stale.sql")
	MarkParked      = read("queries/mark_parked.sql")
	Park            = read("queries/park.sql")
	ParkAll         = read("queries/park_all.sql")
	Clear           = read("queries/clear.sql")
	UsersReferences = read("queries/users_references.sql")
	Closed          = read("queries/closed.sql")
	Grants          = read("queries/grants.sql")
	Defaults        = read("queries/defaults.sql")
	OwnTable        = read("queries/own_table.sql")
	NearTables      = read("queries/near_tables.sql")
	Due             = read("queries/due.sql") // a format of a condition on p, which is a row of rollcall.parked
	MakeDue         = read("queries/make_due.sql")
	DueTargets      = read("queries/due_targets.sql")
	Walk            = read("queries/walk.sql")
	Member          = read("queries/member.sql")
	Checked         = read("queries/checked.sql")
	BansOver        = read("queries/bans_over.sql")
	EndBans         = read("queries/end_bans.sql")
	Catalog         = read("queries/catalog.sql")
	LookNote        = read("queries/look_note.sql")
	Touched         = read("queries/touched.sql")

	Unanswered   = read("queries/unanswered.sql")
	ForgetBodies = read("queries/forget_bodies.sql")
	ForgetEvents = read("queries/forget_events.sql")
	ForgetErased = read("queries/forget_erased.sql")

	Surroundings = read("queries/surroundings.sql")

	SpanLock  = read("queries/span_lock.sql")
	SpanClear = read("queries/span_clear.sql")

	BackfillBegin  = read("queries/backfill_begin.sql")
	BackfillPage   = read("queries/backfill_page.sql")
	BackfillMoved  = read("queries/backfill_moved.sql")
	BackfillNote   = read("queries/backfill_note.sql")
	RowTriggers    = read("queries/row_triggers.sql")
	ReasonColumns  = read("queries/reason_columns.sql")
	ReasonAgainst  = read("queries/reason_against.sql")
	ReasonPlaces   = read("queries/reason_places.sql")
	BackfillNone   = read("queries/backfill_none.sql")
	BackfillForget = read("queries/backfill_forget.sql")
)

// Statements for people to run as well: formats of a table, quoted, and more.
var (
	CaptureInstall = read("capture/install.sql")
	CaptureRemove  = read("capture/remove.sql")
)

// CaptureRemoveOld drops the trigger of an older version by its function.
var CaptureRemoveOld = read("capture/remove_old.sql")

func read(name string) string {
	b, err := files.ReadFile(name)
	if err != nil {
		panic(err) // the files are part of the binary
	}
	return string(b)
}
