// Package auditlog notes in rollcall.audit_log what operators change: who did what, to what, and how it went. An entry
// names ids, and holds no other personal data.
//
//	err := auditlog.Note(ctx, pool, auditlog.Entry{Who: "cli:alice", Action: "reload", Object: "configuration", Result: "done"})
package auditlog

import (
	"context"

	"rollcall/internal/postgres/connection"
)

// Entry is one line of the log. The database adds the moment.
type Entry struct {
	Who    string // the operator: a token's name, or that of who ran a command
	Action string // a word: erase, reload, …
	Object string // what it was done to, such as users/clerk/user_2abc
	Result string
}

// InsertSQL notes an entry, given its Args, in a transaction that changes what it speaks of.
const InsertSQL = "insert into rollcall.audit_log (who, action, object, result) values ($1, $2, $3, $4)"

// Args are the parameters of InsertSQL.
func (e Entry) Args() []any { return []any{e.Who, e.Action, e.Object, e.Result} }

// Note notes an entry by itself.
func Note(ctx context.Context, on *connection.Pool, e Entry) error {
	_, err := on.Exec(ctx, InsertSQL, e.Args()...)
	return connection.Wrap(err, "note %s of %s in rollcall.audit_log", e.Action, e.Object)
}
