package doctor

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"rollcall/internal/postgres/directory"
	"rollcall/internal/postgres/outbox"
	"rollcall/internal/source"
	"rollcall/internal/target"
)

// usersTables finds what keeps the tables of the providers' users from being read.
func (e *examination) usersTables(ctx context.Context) error {
	for _, c := range e.Captures {
		u, err := e.DB.Directory().Users(ctx, c.Source, c.Table)
		switch {
		case errors.Is(err, directory.ErrUnseen):
			if err := e.unread(ctx, c, err); err != nil {
				return err
			}
		case err != nil:
			return err
		default:
			e.emptyColumns(c, u)
			if err := e.otherTable(ctx, c, u); err != nil {
				return err
			}
		}
	}
	return nil
}

// unread says why a table of users can't be read, and what needs it.
func (e *examination) unread(ctx context.Context, c outbox.Capture, why error) error {
	src := e.source(c.Source)
	script := command("rollcall capture install --print %s", c.Source)
	if src.Reconcile != nil && src.Reconcile.Schedule != "" {
		e.add(scheduleCannotRead, e.at("sources", c.Source, "reconcile", "schedule"),
			fmt.Sprintf("the schedule can't reconcile source %s: %v", c.Source, why), script)
	}
	if src.Session != nil {
		e.add(sessionCannotRead, e.at("sources", c.Source, "session"),
			fmt.Sprintf("just-in-time sync can't look users of source %s up: %v", c.Source, why), script)
	}
	t, err := e.DB.Directory().Table(ctx, c.Table)
	switch {
	case errors.Is(err, directory.ErrUnseen) && src.UsersTable != "":
		e.add(usersTableMissing, e.at("sources", c.Source, "users_table"), err.Error(), sourceYAML(c.Source, "users_table: none"))
	case errors.Is(err, directory.ErrUnseen): // the source is in another database
	case err != nil:
		return err
	case errors.Is(why, directory.ErrHidden) && t.RowSecurityHides && !t.RowSecurityForced:
		e.add(usersTableHidden, "table "+c.Table, why.Error(), sql("create policy rollcall on %s for select to %s using (true)",
			target.QuoteTable(c.Table), target.Quote(e.role)))
	default:
		e.add(usersTableUnreadable, "table "+c.Table, fmt.Sprintf("the table can't be read, so source %s is followed by its events' versions: %v",
			c.Source, why), script)
	}
	return nil
}

// emptyColumns finds the columns that stay empty because they can't be read.
func (e *examination) emptyColumns(c outbox.Capture, u *directory.Users) {
	if len(u.Empty) == 0 {
		return
	}
	remedy := sql("grant select (%s) on %s to %s", target.QuoteAll(u.Empty), target.QuoteTable(c.Table), target.Quote(e.role))
	if u.Reader {
		remedy = command("rollcall capture install --print %s", c.Source)
	}
	e.add(usersTableColumns, "table "+c.Table, fmt.Sprintf("columns can't be read, and stay empty in the roll: %s", strings.Join(u.Empty, ", ")), remedy)
}

const (
	// sampled is how many users of the roll are looked for at their provider, known for longer than knownFor.
	sampled  = 5
	knownFor = 10 * time.Minute
)

// otherTable finds a table that knows none of the roll's users: it is empty, or another project's.
func (e *examination) otherTable(ctx context.Context, c outbox.Capture, u *directory.Users) error {
	ids, err := e.DB.Directory().Listing(c.Source).Sample(ctx, sampled, e.Now().Add(-knownFor))
	if err != nil || len(ids) < sampled {
		return err
	}
	living, err := u.Living(ctx, ids)
	if err == nil && len(living) == 0 {
		e.add(usersTableOther, "table "+c.Table, fmt.Sprintf("the table has none of %d users that the roll has of source %s: it is empty, or "+
			"another project's; nothing is deleted because of it", len(ids), c.Source), sourceYAML(c.Source, "users_table: SCHEMA.TABLE"))
	}
	return err
}

// captures finds what keeps changes of users from being noted and applied.
func (e *examination) captures(ctx context.Context) error {
	for _, c := range e.Captures {
		state, err := e.DB.Outbox().State(ctx, c)
		switch {
		case errors.Is(err, directory.ErrUnseen): // the table is in another database
			e.unfed(c, false)
		case err != nil:
			return err
		default:
			e.capture(c, state)
		}
	}
	for _, s := range e.Sources {
		if s.Provider() == source.Clerk && !s.Open(source.Hook) && !e.scheduled(s.Name()) {
			e.add(sourceUnfed, e.at("sources", s.Name()), fmt.Sprintf("nothing reports the changes of source %s: it has no signing_secrets, "+
				"and no schedule reconciles it", s.Name()), sourceYAML(s.Name(), `signing_secrets: ["${CLERK_WEBHOOK_SIGNING_SECRET}"]`))
		}
	}
	return nil
}

func (e *examination) capture(c outbox.Capture, state outbox.State) {
	table, quoted := "table "+c.Table, target.QuoteTable(c.Table)
	install := command("rollcall capture install %s", c.Source)
	switch {
	case state.For == "":
		e.unfed(c, true)
	case !state.Installed:
		e.add(captureDisabled, table, fmt.Sprintf("the trigger rollcall_capture is disabled: changes of source %s are not noted; "+
			"reconcile it afterwards", c.Source), sql("alter table %s enable trigger rollcall_capture", quoted))
	case state.For != c.Source:
		e.add(captureOtherSource, table, fmt.Sprintf("the trigger rollcall_capture notes changes for source %s, not for %s", state.For, c.Source),
			command("rollcall capture remove %[1]s && rollcall capture install %[1]s", c.Source))
	case state.Old:
		e.add(captureOld, table, "the trigger rollcall_capture is of an older version, which notes users' data", install)
	}
	if state.Waiting > 0 && e.Now().Sub(state.Oldest) > e.Bounds.Outbox {
		e.add(captureWaits, "table rollcall_provider.outbox", fmt.Sprintf("%d changes of source %s wait, the oldest since %s: no serve empties "+
			"the outbox, or the rows can't be read", state.Waiting, c.Source, moment(state.Oldest)), command("rollcall serve"))
	}
}

// unfed finds a source of which nothing reports all changes; here says that a capture would.
func (e *examination) unfed(c outbox.Capture, here bool) {
	src := e.sourceNamed(c.Source)
	remedy := command("rollcall capture install %s", c.Source)
	if !here {
		remedy = sourceYAML(c.Source, `database_webhook: {secrets: ["${SUPABASE_DB_WEBHOOK_SECRET}"]}`)
	}
	switch {
	case src.Open(source.Database) || e.scheduled(c.Source):
	case src.Open(source.Hook):
		e.add(sourceHooksOnly, e.at("sources", c.Source), fmt.Sprintf("hooks alone report source %s: they tell nothing of updates, bans and "+
			"deletions, nor of users that an administrator creates", c.Source), remedy)
	default:
		e.add(sourceUnfed, e.at("sources", c.Source), fmt.Sprintf("nothing reports the changes of source %s: no capture is installed, and it "+
			"has neither signing_secrets nor a database_webhook", c.Source), remedy)
	}
}

func (e *examination) scheduled(name string) bool {
	src := e.source(name)
	return src.Reconcile != nil && src.Reconcile.Schedule != ""
}

func (e *examination) sourceNamed(name string) *source.Source {
	for _, s := range e.Sources {
		if s.Name() == name {
			return s
		}
	}
	return nil
}
