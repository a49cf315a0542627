package app

import (
	"context"
	"time"

	"rollcall/internal/postgres"
	"rollcall/internal/postgres/outbox"
)

// followPause is the pause between two looks at whether a table of users can be read: one that could
// not be may be by now, for which what a capture has noted waits, and one that could may hide its rows.
const followPause = 5 * time.Second

// follow makes table sources of those whose table of users is in this database and can be read,
// and hands on why another one is none.
func (s *Setup) follow(ctx context.Context, db *postgres.DB, say func(source string, err error)) {
	for _, c := range s.Captures() {
		if err := db.Roll().Follow(ctx, c.Source, c.Table); err != nil && ctx.Err() == nil {
			say(c.Source, err)
		}
	}
}

// follow says once of each source why its table can't be read, and what needs it.
func (sv *service) follow(ctx context.Context) {
	sv.followedAt = time.Now()
	sv.setup.follow(ctx, sv.db, func(source string, err error) {
		if sv.said.unread[source] == err.Error() {
			return
		}
		sv.said.unread[source] = err.Error()
		if needs := sv.needsTable(ctx, source); len(needs) > 0 {
			sv.log.Warn("the table of users can't be read: what needs it does not work, and changes count by their version",
				"source", source, "needed_by", needs, "error", err)
			return
		}
		sv.log.Info("the table of users can't be read here: changes count by their version", "source", source, "reason", err)
	})
	for source := range sv.said.unread {
		if sv.db.Roll().Follows(source) {
			delete(sv.said.unread, source)
			sv.log.Info("the table of users can be read, and decides what is so", "source", source)
		}
	}
}

// needsTable lists what of a source reads its table of users.
func (sv *service) needsTable(ctx context.Context, name string) (needs []string) {
	src := sv.setup.configured(name)
	if src.Reconcile != nil && src.Reconcile.Schedule != "" {
		needs = append(needs, "reconcile.schedule")
	}
	if src.Session != nil {
		needs = append(needs, "session")
	}
	captures, err := sv.db.Outbox().Captures(ctx, []outbox.Capture{{Source: name, Table: usersTable(src)}})
	if err == nil && captures[0].Installed {
		needs = append(needs, "capture")
	}
	return needs
}
