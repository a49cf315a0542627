// Package sqlstate sorts PostgreSQL's errors by what to do about them, and removes users' data from
// their messages. Its class decides whether a batch runs again, one user is parked, or a target is
// out of service:
//
//	switch sqlstate.ClassOf(err) {
//	case sqlstate.Retry:
//		// run the batch again
//	case sqlstate.Row:
//		log.Warn("the user is parked", "error", sqlstate.Text(err))
//	}
package sqlstate

import (
	"errors"

	"github.com/jackc/pgx/v5/pgconn"
)

// SQLSTATEs that decide what is done about an error
// (https://www.postgresql.org/docs/current/errcodes-appendix.html).
const (
	LockNotAvailable      = "55P03"
	ForeignKeyViolation   = "23503"
	UniqueViolation       = "23505"
	IntegrityViolation    = "23000"
	DivisionByZero        = "22012"
	SerializationFailure  = "40001"
	ExclusionViolation    = "23P01"
	QueryCanceled         = "57014"
	TooLarge              = "54000"
	InsufficientPrivilege = "42501"
	ReadOnlyTransaction   = "25006"
	InvalidText           = "22P02"
	NotSupported          = "0A000" // a standby's answer to "begin read write", or a stale plan
)

// Of returns the SQLSTATE of an error; "" for an error that PostgreSQL did not send, and for nil.
func Of(err error) string {
	var answer *pgconn.PgError
	if errors.As(err, &answer) {
		return answer.Code
	}
	return ""
}

// IsStalePlan reports whether a plan that is cached on the session was made for a former type of a
// column. A new session has no such plan.
func IsStalePlan(e *pgconn.PgError) bool { return e.Code == NotSupported && e.Routine == StalePlan }

// StalePlan is the Routine of a pgconn.PgError about a stale plan, of which IsStalePlan tells. Its message depends
// on the server's language.
const StalePlan = "RevalidateCachedQuery"

// Class says what an error is about, which decides what is done.
type Class int

const (
	// Retry means a deadlock, a serialization failure, a lost connection, a stale plan, a server that
	// goes away.
	// The whole batch runs again.
	Retry Class = iota + 1
	// Server means that the database takes no writes at all; trying again at once gains nothing.
	Server
	// Row means that this row does not fit the table; one user is parked.
	Row
	// Lock means that a wait for a lock, or the statement as a whole, took too long; which session holds
	// what has to be asked.
	Lock
	// Target means that the table as a whole refuses (gone, renamed, no privilege).
	Target
)

// ClassOf returns the class of an error. One that PostgreSQL did not send is Retry: a connection failed or was lost.
func ClassOf(err error) Class {
	var unreachable *pgconn.ConnectError
	var answer *pgconn.PgError
	if errors.As(err, &unreachable) || !errors.As(err, &answer) || IsStalePlan(answer) {
		return Retry
	}
	return ClassOfState(answer.Code)
}

// ClassOfState returns the class of an SQLSTATE.
func ClassOfState(state string) Class {
	switch state {
	case ReadOnlyTransaction: // a standby, or a failover under way
		return Server
	case LockNotAvailable, QueryCanceled: // canceled by statement_timeout
		return Lock
	}
	if c, ok := classes[state[:min(2, len(state))]]; ok {
		return c
	}
	return Row // data and constraints, and whatever an application's trigger raises
}

// classes has PostgreSQL's classes of SQLSTATEs that are about no row.
var classes = map[string]Class{
	"08": Retry,  // connection
	"25": Retry,  // transaction state
	"26": Retry,  // prepared statement
	"40": Retry,  // rollback
	"57": Retry,  // operator intervention
	"53": Server, // resources
	"58": Server, // system
	"F0": Server, // configuration file
	"42": Target, // no such thing, or no right to it
	"0A": Target, // not supported
	"55": Target, // not in a fit state
	"XX": Target, // internal
}
