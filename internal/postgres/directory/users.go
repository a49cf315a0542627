package directory

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"rollcall/internal/postgres/catalog"
	"rollcall/internal/postgres/connection"
	"rollcall/internal/postgres/sqlstate"
	"rollcall/internal/target"
)

var (
	//go:embed absent.sql
	absentSQL string // of a table
	//go:embed absent_of.sql
	absentOfSQL string // of a reader
	//go:embed count_absent.sql
	countAbsentSQL string
	//go:embed sought.sql
	soughtSQL string
	//go:embed one.sql
	oneSQL string
	//go:embed open_policy.sql
	openPolicySQL string
)

// Users is a table of a provider's users (auth.users) beside the roll.
type Users struct {
	// Empty are the columns that can't be read, and so stay empty.
	Empty []string
	// Reader: the rows come by the functions of a reader.
	Reader bool
	// Strict: no policy hides a row from the role.
	Strict bool

	directory      *Directory
	source, table  string
	name           string // table as configured
	rows           rowSource
	compare        string       // comparedUsers
	detailed       string       // with what differs
	fewer          atomic.Int64 // users of the next page at most, after one that took too long; 0 before
	absent, living string
	countAbsent    string
	sought, one    string
	stretch, ids   string
}

// RowsOfIDs is the query of some users' rows, for StateOfRows: of the ids $2, of each of which $3 says whether it is
// known to be deleted.
func (u *Users) RowsOfIDs() string { return u.rows.ofIDs }

// RowsOfSpan returns three pieces of SQL: for StateOfRows, the query of the rows after the user $2 up to $6, of $3
// users at most; the query of those of them whose ids the common table expression mine has; and the condition that a
// row is a living user.
func (u *Users) RowsOfSpan() (rows, some, living string) {
	return upToID(u.rows.after),
		strings.Replace(u.rows.some, "$1::uuid[]", "array(select id::uuid from mine)", 1), u.living
}

// upToID are the rows up to the id $6, null for all.
func upToID(rows string) string {
	return "select * from (" + rows + `) rows where ($6::text is null or id <= $6::text collate "C")`
}

// ErrHidden means that the table's rows can't all be seen: what is not seen may be there.
var ErrHidden = errors.New("rows may be hidden")

// ErrUnseen means that a table of users is not there, is another kind of table, or can't be
// read: waiting won't help.
var ErrUnseen = errors.New("the users can't be seen")

// Unreadable reports whether an error says that a table, or what reads it, is gone or closed to
// Rollcall's role. A timeout, or a full server, does not.
func Unreadable(err error) bool {
	return slices.Contains([]string{sqlstate.InsufficientPrivilege, "42P01", "3F000", "42883"}, sqlstate.Of(err))
}

// unseen is ErrUnseen in its own words.
type unseen struct{ error }

// Unwrap lets errors.Is find what else it is.
func (u unseen) Unwrap() error { return u.error }

// Is lets errors.Is find ErrUnseen.
func (unseen) Is(target error) bool { return target == ErrUnseen }

// Users looks at a source's table of users. Its error says why the table can't be read
// whole; it wraps ErrUnseen where the table is the reason, and ErrHidden where a reader
// would not notice.
func (d *Directory) Users(ctx context.Context, source, name string) (*Users, error) {
	t, err := d.Table(ctx, name)
	if err != nil {
		return nil, err
	}
	u, err := d.readerOfUsers(ctx, source, name, t)
	if u != nil || err != nil && !errors.Is(err, ErrUnseen) {
		return u, err
	}
	broken := err
	if u, err = d.directUsers(ctx, source, name, t); err != nil && broken != nil {
		err = unseen{errors.Join(broken, err)}
	}
	return u, err
}

// Remedy says, for the end of an error message, how Rollcall's role gets to read the table of users of a source. It
// works also where no role may grant rights to the schema, as on Supabase.
func Remedy(source string) string {
	return fmt.Sprintf("run: rollcall capture install --print %s, and run what it prints as a role that may read "+
		"the table and put triggers on it, on Supabase in the SQL editor", source)
}

// directUsers reads the table itself.
func (d *Directory) directUsers(ctx context.Context, source, name string, t *catalog.Table) (*Users, error) {
	if slices.Contains(t.MissingPrivileges, "select") {
		return nil, unseen{fmt.Errorf("role %s may not read %s; %s", target.Quote(t.Role), name, Remedy(source))}
	}
	if c := t.Column("id"); c == nil || c.Type != "uuid" {
		return nil, unseen{fmt.Errorf("%s has no column id of type uuid; name a table with the columns of auth.users "+
			"in users_table", name)}
	}
	if err := d.seesAll(ctx, t, source, name); err != nil {
		return nil, err
	}
	columns := slices.DeleteFunc(slices.Clone(Columns), func(c string) bool { return t.Column(c) == nil })
	closed := slices.DeleteFunc(slices.Clone(columns), func(c string) bool { return t.Column(c).Readable })
	if slices.ContainsFunc(closed, func(c string) bool { return !slices.Contains(columnsAdded, c) }) {
		return nil, unseen{fmt.Errorf("role %[1]s may not read all columns of %[2]s that Rollcall needs; as its owner "+
			"run: grant select (%[3]s) on %[4]s to %[1]s; or %[5]s",
			target.Quote(t.Role), name, target.QuoteAll(closed), target.QuoteTable(name), Remedy(source))}
	}
	quoted := target.QuoteTable(name)
	u := &Users{
		directory: d, source: source, name: name, table: quoted, rows: rowsOfTable(quoted, closed),
		Empty: closed, Strict: !t.RowSecurityHides, living: "true",
	}
	if t.Column("deleted_at") != nil {
		u.living = livingOf
	}
	u.compare, u.detailed = compareUsers(u.rows.after, "null::text[]"), compareUsers(u.rows.after, differingColumns())
	u.stretch, u.ids = stretchesOf(u)
	u.absent = fmt.Sprintf(absentSQL, u.table, u.living)
	u.countAbsent = fmt.Sprintf(countAbsentSQL, u.table, u.living)
	u.sought = fmt.Sprintf(soughtSQL, u.rows.sought, knownBy(t), u.rows.known)
	columns = slices.DeleteFunc(columns, func(c string) bool { return slices.Contains(closed, c) })
	u.one = fmt.Sprintf(oneSQL, u.table, target.QuoteAll(columns), sizeOfMetadata(columns))
	return u, nil
}

// livingOf is the condition of a living user: the year 1 is Supabase Auth's "never".
const livingOf = "(deleted_at is null or deleted_at < '0002-01-01')"

// sizeOfMetadata is how many bytes the metadata takes, of the columns that a table has. What takes
// more than $2 as it is stored is not decompressed.
func sizeOfMetadata(columns []string) string {
	sizes := []string{"0"}
	for _, c := range columns {
		if strings.HasPrefix(c, "raw_") {
			sizes = append(sizes, fmt.Sprintf("coalesce(case when pg_catalog.pg_column_size(%[1]s) > $2::bigint then "+
				"pg_catalog.pg_column_size(%[1]s) "+
				"else pg_catalog.pg_column_size(%[1]s #> '{}'::text[]) end, 0)", c))
		}
	}
	return strings.Join(sizes, " + ")
}

// seesAll makes sure that no row security hides users: a role from which it hides them reads no row
// and gets no error.
func (d *Directory) seesAll(ctx context.Context, t *catalog.Table, source, name string) error {
	if !t.RowSecurityHides {
		return nil
	}
	var open bool
	if err := d.Pool.QueryRow(ctx, openPolicySQL, t.OID).Scan(&open); err != nil {
		return fmt.Errorf("read the policies of %s: %w", name, err)
	}
	if open {
		return nil
	}
	show := t.ShowTo(name)
	if !t.RowSecurityForced {
		show = fmt.Sprintf("as an administrator run: alter role %[1]s bypassrls, or as the owner of the table: "+
			"create policy rollcall on %[2]s for select to %[1]s using (true)", target.Quote(t.Role), target.QuoteTable(name))
	}
	return unseen{fmt.Errorf("%w: %s, so it would read no user and no error; %s", ErrHidden, t.HiddenFrom(name),
		show+"; or "+Remedy(source))}
}

// Visible fails with ErrHidden when row security hides users by now.
func (u *Users) Visible(ctx context.Context) error {
	if u.Reader {
		return u.probe(ctx)
	}
	t, err := u.directory.Table(ctx, u.name)
	if err != nil {
		return err
	}
	return u.directory.seesAll(ctx, t, u.source, u.name)
}

// Count returns how many users the table has and how many living ones the roll.
func (u *Users) Count(ctx context.Context) (table, roll int64, err error) {
	err = u.directory.Pool.Scan(ctx, func(tx pgx.Tx) error {
		return tx.QueryRow(ctx, "select "+u.rows.count+`,
  (select pg_catalog.count(*) from rollcall.users where source = $1 and deleted_at is null)`, u.source).
			Scan(&table, &roll)
	})
	return table, roll, connection.Wrap(u.directory.Pool.Explain(err), "count users")
}

// CountAbsent returns how many living users of the roll the table has no more.
func (u *Users) CountAbsent(ctx context.Context) (n int64, err error) {
	err = u.directory.Pool.Scan(ctx, func(tx pgx.Tx) error {
		return tx.QueryRow(ctx, u.countAbsent, u.source).Scan(&n)
	})
	return n, connection.Wrap(err, "count users who are gone")
}

// Absent returns the next n living users of the roll after an id that the table has no more, or as
// deleted. Of each, only the id and the moment are known.
func (u *Users) Absent(ctx context.Context, after string, n int) (absent []Pair, err error) {
	err = u.atLength(ctx, func(tx pgx.Tx) error {
		rows, _ := tx.Query(ctx, u.absent, u.source, after, n)
		absent, err = pgx.CollectRows(rows, func(row pgx.CollectableRow) (p Pair, err error) {
			return p, row.Scan(&p.ID, &p.At)
		})
		return err
	})
	return absent, connection.Wrap(err, "look for users who are gone after %q", after)
}

// One returns a user's columns as a JSON object; nil without an error if the table has no such user, which holds for
// every id that is not written as PostgreSQL writes a uuid. A user whose metadata takes more than limits.metadata is
// an error.
func (u *Users) One(ctx context.Context, id string) (row []byte, err error) {
	var large bool
	if key, bad := uuid.Parse(id); bad == nil && key.String() == id {
		err = u.directory.Pool.QueryRow(ctx, u.one, key, u.directory.Metadata.Load()).Scan(&row, &large)
	}
	switch {
	case err != nil:
		return nil, fmt.Errorf("look for a user of %s: %w", u.source, u.directory.Pool.Explain(err))
	case large:
		return nil, fmt.Errorf("look for a user of %s: the metadata takes more than %d bytes; raise limits.metadata",
			u.source, u.directory.Metadata.Load())
	}
	return row, nil
}

// Living asks the table once more which of some users it has; the others are missing from the map.
func (u *Users) Living(ctx context.Context, ids []string) (map[string]bool, error) {
	rows, _ := u.directory.Pool.Query(ctx, "select id::text from "+u.rows.some+" where id = any($1::uuid[]) and "+u.living, ids)
	living := map[string]bool{}
	var id string
	_, err := pgx.ForEachRow(rows, []any{&id}, func() error {
		living[id] = true
		return nil
	})
	return living, connection.Wrap(err, "confirm that users are gone")
}
