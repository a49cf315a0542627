// Package target is the language of targets. It hides how SQL text is split into tokens, what can be
// seen to be wrong with a target, and which statements make a table follow a roll. It asks no
// database: who does describes the table, and takes PostgreSQL's answers to the compiler's questions.
//
//	found := t.Lint(roll)
//	found = t.Check(roll, table)
//	statements := target.NewCompiler(t, roll, table).Compile()
package target

import (
	"cmp"
	"fmt"
	"hash/fnv"
	"slices"
	"strings"
)

// Target describes a table of an application in the words of the configuration: the tags are its
// language, as in package config, which decodes a target.
type Target struct {
	// Name matches [a-z][a-z0-9_-]{0,62}.
	Name string
	// At is where the target stands in the configuration, file:line:column.
	At string
	// Roll is the name of the roll that it follows; "" for that of users.
	Roll string `yaml:"roll" as:"users|organizations|memberships" doc:"the roll that it follows; users when absent"`
	// Table is schema.table or table, exactly as in the catalog; the schema defaults to public.
	Table string `yaml:"table,required" as:"table" doc:"table, exactly as in the catalog: public.User is \"User\"; the schema is public when absent"`
	// From are the sources that it follows; none means every source, until it is compiled.
	From []Origin `yaml:"from" also:"sources source" doc:"sources it follows; every source that has the roll when absent"`
	// Key are the columns of a unique index; each stands in Set.
	Key []string `yaml:"key,required" as:"column" doc:"column or columns with a unique index; their expressions use constants, new.source and new.id; of memberships also new.organization_id and new.user_id"`
	// Set is written at insert and at every update, OnInsert once. They share no column.
	Set      []Assignment `yaml:"set,required" also:"columns" doc:"map of column to SQL expression over new; written at insert and at every update"`
	OnInsert []Assignment `yaml:"on_insert" also:"insert" doc:"map of column to SQL expression over new; written once, from then on the application owns it"`
	OnDelete OnDelete     `yaml:"on_delete,required" also:"delete" doc:"fate of a deleted user's row: delete, keep or a map of columns to set"`
	// Match is nil where no user takes over a row.
	Match *Match `yaml:"match" doc:"how a user without a row takes over one that has no key"`
	// Where is nil when every user belongs.
	Where *Expr `yaml:"where" doc:"SQL condition over new; a user who stops matching leaves as a deleted one does"`
	// UsersTables are the tables of the providers' users, as schema.table: a target that
	// wrote one would delete the provider's own users.
	UsersTables []string
}

// Origin is a source of a target's users.
type Origin struct {
	Source string
	// SampleID is an id such as the source gives: a key must be able to hold it.
	SampleID string
}

// Expr is a SQL expression over the record new, as the configuration gives it.
type Expr struct {
	// SQL is never empty; YAML null, booleans and numbers are literals as written.
	SQL string
	// Written is SQL as the file has it, before variables were replaced: the form that
	// messages quote. SQL when empty.
	Written string
	// At is where it stands (file:line:column), for findings.
	At string
}

// Assignment gives a column its value.
type Assignment struct {
	Column string // the exact name
	Expr   Expr
}

// Action is what becomes of the row of a user who is gone.
type Action string

// The three forms of on_delete: the row goes, stays as it is, or gets OnDelete.Set.
const (
	DeleteRow  Action = "delete"
	DeleteKeep Action = "keep"
	DeleteSet  Action = "set"
)

// OnDelete is an action and, for DeleteSet alone, at least one column.
type OnDelete struct {
	Action Action
	Set    []Assignment
}

// Follows reports whether the target follows the users of a source.
func (t *Target) Follows(source string) bool {
	return len(t.From) == 0 || slices.ContainsFunc(t.From, func(o Origin) bool { return o.Source == source })
}

// Sources are the sources whose users the target follows, in key order.
func (t *Target) Sources() []string {
	return slices.Sorted(slices.Values(each(t.From, func(_ int, o Origin) string { return o.Source })))
}

// Rights are those that a target needs to its table.
func (t *Target) Rights() []string {
	needed := []string{"select", "insert", "update"}
	if t.OnDelete.Action == DeleteRow {
		needed = append(needed, "delete")
	}
	return needed
}

// keyAssignments returns the assignments of the key columns, in the key's order.
func (t *Target) keyAssignments() []Assignment {
	var keys []Assignment
	for _, name := range t.Key {
		for _, a := range t.Set {
			if a.Column == name {
				keys = append(keys, a)
			}
		}
	}
	return keys
}

// assignments are all of them, in the order of the configuration's reference.
func (t *Target) assignments() []Assignment { return slices.Concat(t.Set, t.OnInsert, t.OnDelete.Set) }

// Finding is one thing wrong with a target. A target with a Fault stays out of service; its
// users are parked.
type Finding struct {
	Code   Code
	Target string
	At     string // file:line:column
	// What is wrong and what to do. It ends with "run: " and SQL where SQL corrects it.
	What string
	// Passing: a lock or a full server kept the target from being checked; a target that was
	// in service stays there.
	Passing bool
	// Severity is Fault unless the target stays in service.
	Severity Severity
}

// Severity is what a finding does to its target.
type Severity int

// A Fault takes the target out of service; a Warning is only said.
const (
	Fault Severity = iota
	Warning
)

// Faults are the findings that take a target out of service.
func Faults(found []Finding) []Finding {
	return slices.DeleteFunc(slices.Clone(found), func(f Finding) bool { return f.Severity == Warning })
}

func (f Finding) String() string { return fmt.Sprintf("%s: target %s: %s", f.At, f.Target, f.What) }

// findings collects what is wrong with a target.
type findings struct {
	target string
	list   []Finding
}

// add takes a fault; "" is none.
func (f *findings) add(code Code, at, what string) {
	if what != "" {
		f.list = append(f.list, Finding{Code: code, Target: f.target, At: at, What: what})
	}
}

// Fingerprint is a number for a set of targets: the same at every replica that has the same,
// and in all likelihood another for any other.
func Fingerprint(targets []Target) int32 {
	sum := fnv.New32a()
	for _, t := range targets {
		plain := func(list []Assignment) []string {
			return each(list, func(_ int, a Assignment) string { return a.Column + ": " + a.Expr.SQL })
		}
		where := ""
		if t.Where != nil {
			where = t.Where.SQL
		}
		fmt.Fprintf(sum, "%q %q %q %q %q %q %q %q %q\n", t.Name, t.Table, t.From, t.Key, plain(t.Set), plain(t.OnInsert),
			t.OnDelete.Action, plain(t.OnDelete.Set), where)
		if t.Match != nil {
			fmt.Fprintf(sum, "match %q\n", t.Match.Column)
		}
	}
	return int32(sum.Sum32()) //nolint:gosec // its bits are all that counts
}

// Alike reports whether two targets are configured alike, wherever they stand in the configuration.
func (t *Target) Alike(o *Target) bool {
	return Fingerprint([]Target{*t}) == Fingerprint([]Target{*o}) && t.Roll == o.Roll
}

// abridged quotes an expression for a message.
func (e Expr) abridged() string {
	line := strings.Join(strings.Fields(cmp.Or(e.Written, e.SQL)), " ")
	if len(line) > 60 {
		line = strings.ToValidUTF8(line[:57], "") + "..."
	}
	return line
}
