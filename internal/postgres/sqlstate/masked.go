package sqlstate

import (
	"errors"
	"fmt"
	"regexp"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"
)

var (
	quoted      = regexp.MustCompile(`(?s)".*"`)
	mailAddress = regexp.MustCompile(`[^\s"'(<]+@[^\s"')>]+`)
)

// Masked returns an error's message without the values of a user. Only messages about constraints name nothing but
// the schema; others quote values, and what an application raises may be anything.
func Masked(state, message string) string {
	class := ClassOfState(state)
	switch {
	case strings.HasPrefix(state, "23") || class == Lock || state == InsufficientPrivilege:
		message = mailAddress.ReplaceAllString(message, "…@…")
	case strings.HasPrefix(state, "P0") || class == Row && !quotesValues(state):
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

// quotesValues reports whether PostgreSQL itself sends a state of the class Row, with values in
// double quotes: data exceptions, cardinality violations, exceeded limits.
func quotesValues(state string) bool {
	return strings.HasPrefix(state, "22") || strings.HasPrefix(state, "21") || strings.HasPrefix(state, "54")
}

// Message returns the message of PostgreSQL's answer as Masked does, and RaisedBy for what a function has raised.
func Message(e *pgconn.PgError) string {
	if e.Routine == "exec_stmt_raise" {
		return raised
	}
	return Masked(e.Code, e.Message)
}

// raised replaces what an application raises.
const raised = RaisedBy + " raised an error; the server's log has its words"

// RaisedBy begins the message that replaces what an application raises.
const RaisedBy = "a trigger or a function of the application"

// maskedError is an error whose text holds no values of a user.
type maskedError struct{ error }

func (e *maskedError) Error() string { return Text(e.error) }

func (e *maskedError) Unwrap() error { return e.error }

// Mask wraps an error so that its message is Text of it. It returns nil for nil.
func Mask(err error) error {
	if err == nil {
		return nil
	}
	return &maskedError{err}
}

// Text returns the message of an error without the values of a user.
func Text(err error) string {
	var answer *pgconn.PgError
	if errors.As(err, &answer) {
		return fmt.Sprintf("%s (%s)", Message(answer), answer.Code)
	}
	return mailAddress.ReplaceAllString(err.Error(), "…@…")
}
