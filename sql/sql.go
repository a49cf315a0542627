// Package sql holds the SQL that Rollcall brings along: the migrations of its schema
// and the statements that do not depend on a target.
package sql

import (
	"embed"
	"io/fs"
	"strings"
)

//go:embed migrations/*.sql capture/*.sql
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

// Index is an index of rollcall.events by its name; On is what follows in "create index".
type Index struct{ Name, On string }

// LaterIndexes are those that 0018_history leaves out where the table is large.
var LaterIndexes = []Index{
	{"events_kinds", "rollcall.events (source, type, outcome, received_at)"},
	{"events_of_user", "rollcall.events (user_id, received_at) where user_id is not null"},
}

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
