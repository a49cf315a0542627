package directory

import (
	"context"
	_ "embed"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"rollcall/internal/event"
	"rollcall/internal/postgres/catalog"
	"rollcall/internal/postgres/connection"
)

var (
	//go:embed announced.sql
	announcedSQL string
	//go:embed announced_sources.sql
	announcedSourcesSQL string
	//go:embed answer.sql
	answerSQL string
)

// Announcement is a recorded event that named a user that the roll has not learned of since.
type Announcement struct {
	ID       string
	UserID   string
	Body     []byte // as received; nil when it is not kept any more
	Received time.Time
}

// AnnouncedSources returns those of some sources that have an announcement to look up: one whose moment, recorded
// with Answer, has come, or, before any Answer, one that came longer ago than first.
func (d *Directory) AnnouncedSources(ctx context.Context, sources []string, first time.Duration) ([]string, error) {
	rows, _ := d.Pool.Query(ctx, announcedSourcesSQL, sources, first)
	due, err := pgx.CollectRows(rows, pgx.RowTo[string])
	return due, connection.Wrap(err, "look for announced users who are due")
}

// Announced returns the announcements of a source that are to be looked up, n at most; first is that of
// AnnouncedSources.
func (d *Directory) Announced(ctx context.Context, source string, first time.Duration, n int) ([]Announcement, error) {
	rows, _ := d.Pool.Query(ctx, announcedSQL, source, first, n)
	list, err := pgx.CollectRows(rows, pgx.RowToStructByPos[Announcement])
	return list, connection.Wrap(err, "read the announced users of %s who are due", source)
}

// Answer is what has become of an announcement. With the outcome event.Announced it is looked up again at Next; any
// other outcome is final.
type Answer struct {
	ID      string
	Outcome event.Outcome
	Next    time.Time
}

// Answer records what has become of a source's announcements. One that has its final outcome keeps it.
func (d *Directory) Answer(ctx context.Context, source string, answers []Answer) error {
	ids, outcomes, next := make([]string, len(answers)), make([]string, len(answers)), make([]*time.Time, len(answers))
	for i, a := range answers {
		ids[i], outcomes[i] = a.ID, string(a.Outcome)
		if a.Outcome == event.Announced {
			next[i] = &a.Next
		}
	}
	_, err := d.Pool.Exec(ctx, answerSQL, source, ids, outcomes, next)
	return connection.Wrap(err, "record what has become of announced users of %s", source)
}

// Sought is what is known of a user who may be in the table of users; "" is unknown.
type Sought struct {
	ID    string // a uuid
	Email string
	Phone string
	// Since is when they were created at the earliest, if their id is another.
	Since time.Time
}

// Seen is what a look at the table has shown.
type Seen struct {
	ID *string   // the user's; nil when they are not there
	At time.Time // the moment this was so, by the database's clock
}

// Seek looks for users in the table: by id, else by e-mail, in upper or lower case, or by phone. It returns what it
// has seen of each, in the order of sought.
func (u *Users) Seek(ctx context.Context, sought []Sought) ([]Seen, error) {
	ids, emails, phones := make([]*string, len(sought)), make([]*string, len(sought)), make([]*string, len(sought))
	since := make([]time.Time, len(sought))
	for i, s := range sought {
		ids[i], emails[i], phones[i], since[i] = known(s.ID), known(s.Email), known(s.Phone), s.Since
	}
	rows, _ := u.directory.Pool.Query(ctx, u.sought, ids, emails, phones, since)
	seen, err := pgx.CollectRows(rows, pgx.RowToStructByPos[Seen])
	return seen, connection.Wrap(err, "look for announced users of %s", u.source)
}

func known(text string) *string {
	if text == "" {
		return nil
	}
	return &text
}

// knownBy is the condition of sought.sql under which a row is the user who is sought under
// another id. Every row of Supabase has the instance 0; saying so lets the index of
// auth.users that begins with it be used, the only one for e-mails in any case.
func knownBy(t *catalog.Table) string {
	var ways []string
	if t.Column("email") != nil {
		mail := "pg_catalog.lower(t.email::text) = s.email"
		if c := t.Column("instance_id"); c != nil && c.Type == "uuid" && c.Readable {
			mail = "(" + mail + " and (t.instance_id = '00000000-0000-0000-0000-000000000000' or t.instance_id is null))"
		}
		ways = append(ways, mail)
	}
	if t.Column("phone") != nil {
		ways = append(ways, "t.phone::text = s.phone")
	}
	if t.Column("created_at") == nil || len(ways) == 0 {
		return "false"
	}
	return "t.created_at >= s.since and (" + strings.Join(ways, " or ") + ")"
}
