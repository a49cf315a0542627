package reconcile

import (
	"fmt"
	"time"

	"rollcall/internal/postgres/directory"
	"rollcall/internal/target"
)

// advice says why the roll can't follow a user, and what to do.
func (r *run) advice(verdict Verdict, p directory.Pair) string {
	if verdict == Final {
		return "the roll has this user as deleted, and a deletion is final; " +
			"create the user again at the provider, with a new id"
	}
	version := time.UnixMicro(p.Roll.Version).UTC()
	at := version.Format(time.RFC3339Nano)
	why := "the roll has a higher version, " + at
	then := "rollcall reconcile " + r.Source.Name()
	if version.After(time.Now()) {
		return fmt.Sprintf("%s, which is in the future; "+
			"run delete from rollcall.users where source = %s and id = %s; then %s",
			why, target.Literal(r.Source.Name()), target.Literal(p.ID), then)
	}
	return why + "; change the user at Clerk, which sets updated_at, and run " + then
}
