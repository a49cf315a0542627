package postgres

import (
	"errors"
	"fmt"
	"regexp"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"
)

// blame is who is to blame for an error, which decides what is done about it.
type blame int

const (
	// blameNobody: a deadlock, a serialization failure, a lost connection, a server that
	// goes away. The whole batch runs again.
	blameNobody blame = iota + 1
	// blameServer: the database takes no writes at all; nothing is gained by trying again
	// at once.
	blameServer
	// blameRow: this row does not fit the table; one user is parked.
	blameRow
	// blameWait: something held a lock for too long; who, has to be asked.
	blameWait
	// blameTarget: the table as a whole refuses (gone, renamed, no privilege).
	blameTarget
)

// blameOf decides by SQLSTATE (https://www.postgresql.org/docs/current/errcodes-appendix.html).
func blameOf(err error) blame {
	var unreachable *pgconn.ConnectError
	var refused *pgconn.PgError
	if errors.As(err, &unreachable) || !errors.As(err, &refused) {
		return blameNobody // no connection, or it was lost
	}
	if isStalePlan(refused) {
		return blameNobody
	}
	return blameOfState(refused.Code)
}

func blameOfState(state string) blame {
	switch state {
	case readOnlyTransaction: // a standby, or a failover under way
		return blameServer
	case lockNotAvailable, queryCanceled: // canceled by statement_timeout
		return blameWait
	}
	if b, ok := blameOfClass[state[:min(2, len(state))]]; ok {
		return b
	}
	return blameRow // data and constraints, and whatever an application's trigger raises
}

// blameOfClass holds the classes that blame no row.
var blameOfClass = map[string]blame{
	"08": blameNobody, // connection
	"25": blameNobody, // transaction state
	"26": blameNobody, // prepared statement
	"40": blameNobody, // rollback
	"57": blameNobody, // operator intervention
	"53": blameServer, // resources
	"58": blameServer, // system
	"F0": blameServer, // configuration file
	"42": blameTarget, // no such thing, or no right to it
	"0A": blameTarget, // not supported
	"55": blameTarget, // not in a fit state
	"XX": blameTarget, // internal
}

var (
	quoted      = regexp.MustCompile(`(?s)".*"`)
	mailAddress = regexp.MustCompile(`[^\s"'(<]+@[^\s"')>]+`)
)

// masked is an error's message without the values of a user. Only what a constraint says
// names nothing but the schema; other messages quote values, and what an application
// raises may be anything.
func masked(state, message string) string {
	switch {
	case strings.HasPrefix(state, "23") || blameOfState(state) == blameWait || state == insufficientPrivilege:
		message = mailAddress.ReplaceAllString(message, "…@…")
	case strings.HasPrefix(state, "P0") || blameOfState(state) == blameRow && !strings.HasPrefix(state, "22") && !strings.HasPrefix(state, "21") && !strings.HasPrefix(state, "54"):
		return raised
	default:
		message = mailAddress.ReplaceAllString(quoted.ReplaceAllString(message, `"…"`), "…@…")
	}
	const limit = 500 // bytes: enough for words, too little for a document
	if len(message) > limit {
		message = strings.ToValidUTF8(message[:limit], "") + "…"
	}
	return message
}

// say is what PostgreSQL said, masked; what a function has raised may be anything.
func say(e *pgconn.PgError) string {
	if e.Routine == "exec_stmt_raise" {
		return raised
	}
	return masked(e.Code, e.Message)
}

// raised stands for the words of an application.
const (
	raised   = raisedBy + " raised an error; the server's log has its words"
	raisedBy = "a trigger or a function of the application"
)

// maskedError is an error whose words hold no values of a user.
type maskedError struct{ error }

func (e *maskedError) Error() string { return sayMasked(e.error) }

func (e *maskedError) Unwrap() error { return e.error }

// sayMasked is an error without the values of a user.
func sayMasked(err error) string {
	var answer *pgconn.PgError
	if errors.As(err, &answer) {
		return fmt.Sprintf("%s (%s)", say(answer), answer.Code)
	}
	return mailAddress.ReplaceAllString(err.Error(), "…@…")
}
