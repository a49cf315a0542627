package reconcile

import (
	"fmt"
	"regexp"
	"strings"
	"time"

	"rollcall/internal/postgres"
)

// advice says why the roll can't follow a user, and what to do. A capture does not note a change of
// updated_at alone, so a reconciliation has to follow.
func (r *run) advice(verdict Verdict, p postgres.Pair) string {
	if verdict == Buried {
		return "the roll has this user as deleted, and a deletion is final; " +
			"create the user again at the provider, with a new id"
	}
	version := time.UnixMicro(p.Roll.Version).UTC()
	at := version.Format(time.RFC3339Nano)
	why := "the roll has a higher version, " + at
	then := "rollcall reconcile " + r.Source.Name()
	switch {
	case r.API == nil:
		return fmt.Sprintf("%s: updated_at was set back, or never set; as a role that may write %s run "+
			"update %s set updated_at = greatest(now(), %s) where id = %s; then %s",
			why, r.from.name(), relation(r.from.name()), postgres.Literal(at), postgres.Literal(p.ID), then)
	case version.After(time.Now()):
		return fmt.Sprintf("%s, which is in the future; "+
			"run delete from rollcall.users where source = %s and id = %s; then %s",
			why, postgres.Literal(r.Source.Name()), postgres.Literal(p.ID), then)
	}
	return why + "; change the user at Clerk, which sets updated_at, and run " + then
}

var plainName = regexp.MustCompile(`^[a-z_][a-z0-9_]*(\.[a-z_][a-z0-9_]*)?$`)

// relation is a table's name in SQL.
func relation(table string) string {
	if plainName.MatchString(table) {
		return table
	}
	return `"` + strings.ReplaceAll(table, ".", `"."`) + `"`
}
