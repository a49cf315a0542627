package postgres

import (
	"errors"
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
	return blameOfState(refused.Code)
}

func blameOfState(state string) blame {
	switch state {
	case "26000": // a prepared statement that a pooler has forgotten
		return blameNobody
	case "25006": // read_only_sql_transaction: a standby, or a failover under way
		return blameServer
	case "55P03", "57014": // lock_not_available, query_canceled by statement_timeout
		return blameWait
	}
	switch state[:min(2, len(state))] {
	case "08", "25", "40", "57": // connection, transaction state, rollback, operator intervention
		return blameNobody
	case "53", "58", "F0": // resources, system, configuration file
		return blameServer
	case "0A", "42", "55", "XX": // not supported, no such thing or no right, not in a fit state, internal
		return blameTarget
	}
	return blameRow // data and constraints, and whatever an application's trigger raises
}

var (
	quotedValue = regexp.MustCompile(`(: )"[^"]*"$`)
	mailAddress = regexp.MustCompile(`[^\s"'(<]+@[^\s"')>]+`)
)

// masked is an error's message without the values of a user: PostgreSQL quotes a bad
// value at the end, and an application's trigger may say anything.
func masked(message string) string {
	message = quotedValue.ReplaceAllString(message, `$1"…"`)
	message = mailAddress.ReplaceAllString(message, "…@…")
	const limit = 500 // bytes: enough for words, too little for a document
	if len(message) > limit {
		message = strings.ToValidUTF8(message[:limit], "") + "…"
	}
	return message
}
