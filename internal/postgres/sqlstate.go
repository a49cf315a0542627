package postgres

import (
	"errors"

	"github.com/jackc/pgx/v5/pgconn"
)

// SQLSTATEs that decide what is done about an error
// (https://www.postgresql.org/docs/current/errcodes-appendix.html).
const (
	lockNotAvailable      = "55P03"
	foreignKeyViolation   = "23503"
	uniqueViolation       = "23505"
	exclusionViolation    = "23P01"
	queryCanceled         = "57014"
	tooLarge              = "54000"
	insufficientPrivilege = "42501"
	readOnlyTransaction   = "25006"
	invalidText           = "22P02"
	notSupported          = "0A000" // a standby's answer to "begin read write"
)

// stateOf is the SQLSTATE of an error, empty for one that PostgreSQL did not send.
func stateOf(err error) string {
	var answer *pgconn.PgError
	if errors.As(err, &answer) {
		return answer.Code
	}
	return ""
}

// isStalePlan reports whether a plan that is cached on the session was made for a former type of a
// column. A new session has no such plan.
func isStalePlan(e *pgconn.PgError) bool { return e.Code == notSupported && e.Routine == stalePlan }

// stalePlan is the function of PostgreSQL that raises the error; its message depends on the server's language.
const stalePlan = "RevalidateCachedQuery"
