package postgres

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"rollcall/internal/event"
	"rollcall/internal/target"
	"rollcall/sql"
)

// columnsOfUsers are the columns of auth.users that are ever read.
var columnsOfUsers = func() []string {
	list := []string{"id"}
	for _, c := range columnsRead {
		list = append(list, c[0])
	}
	return list
}()

// Users is a table of a provider's users (auth.users) beside the roll.
type Users struct {
	db             *DB
	source, table  string
	name           string // table as configured
	rows           rowSource
	reader         bool     // rows come by the functions of a reader
	empty          []string // columns that can't be read, and so stay empty
	compare        string   // comparedUsers
	detailed       string   // with what differs
	page           int      // users of the next page
	absent, living string
	countAbsent    string
	sought, one    string
	strict         bool // no policy hides a row from the role
}

// Pair is a user as the provider's API has them and as the roll has them.
type Pair struct {
	ID   string
	Row  []byte      // as a JSON object; nil when the table, or the list, does not have him
	Roll *event.User // nil when the roll does not know him
	// Known is the moment as of which the roll has him so.
	Known time.Time
	At    time.Time // the moment he was so at the provider, by the database's clock
}

// ErrHidden means that the table's rows can't all be seen: what is not seen may be there.
var ErrHidden = errors.New("rows may be hidden")

// ErrUnseen means that a table of users is not there, is another kind of table, or can't be
// read: waiting won't help.
var ErrUnseen = errors.New("the users can't be seen")

// unseen is ErrUnseen in its own words.
type unseen struct{ error }

// Unwrap lets errors.Is find what else it is.
func (u unseen) Unwrap() error { return u.error }

// Is lets errors.Is find ErrUnseen.
func (unseen) Is(target error) bool { return target == ErrUnseen }

// usersTable reads the description of a table of users.
func (db *DB) usersTable(ctx context.Context, name string) (*table, error) {
	conn, err := db.pool.Acquire(ctx)
	if err != nil {
		return nil, fmt.Errorf("look for %s: %w", name, db.pool.Explain(err))
	}
	defer conn.Release()
	t, err := readTable(ctx, conn.Conn(), name)
	switch {
	case errors.Is(err, errNoTable):
		return nil, unseen{fmt.Errorf("this database has no table %s; Rollcall must be in the database of the provider's own tables: correct database, or users_table of the source", name)}
	case err != nil:
		return nil, err
	case !t.IsTable():
		return nil, unseen{fmt.Errorf("%s is not a table but %s; name the table itself in users_table", name, t.KindOf())}
	}
	return t, nil
}

// Users looks at a source's table of users. Its error says why the table can't be read
// whole; it wraps ErrUnseen where that is the table's affair, and ErrHidden where a reader
// would not notice.
func (db *DB) Users(ctx context.Context, source, name string) (*Users, error) {
	t, err := db.usersTable(ctx, name)
	if err != nil {
		return nil, err
	}
	u, err := db.readerOfUsers(ctx, source, name, t)
	if u != nil || err != nil && !errors.Is(err, ErrUnseen) {
		return u, err
	}
	broken := err
	if u, err = db.directUsers(ctx, source, name, t); err != nil && broken != nil {
		err = unseen{errors.Join(broken, err)}
	}
	return u, err
}

// remedy says what lets Rollcall's role read a table of users, also where nobody may grant the
// schema, as on Supabase.
func remedy(source string) string {
	return fmt.Sprintf("run: rollcall capture install --print %s, and run what it prints as a role that may read the table and put triggers on it, on Supabase in the SQL editor", source)
}

// directUsers reads the table itself.
func (db *DB) directUsers(ctx context.Context, source, name string, t *table) (*Users, error) {
	if slices.Contains(t.MissingPrivileges, "select") {
		return nil, unseen{fmt.Errorf("role %s may not read %s; %s", target.Quote(t.Role), name, remedy(source))}
	}
	if c := t.Column("id"); c == nil || c.Type != "uuid" {
		return nil, unseen{fmt.Errorf("%s has no column id of type uuid; name a table with the columns of auth.users in users_table", name)}
	}
	if err := db.seesAll(ctx, t, source, name); err != nil {
		return nil, err
	}
	columns := slices.DeleteFunc(slices.Clone(columnsOfUsers), func(c string) bool { return t.Column(c) == nil })
	closed := slices.DeleteFunc(slices.Clone(columns), func(c string) bool { return t.Column(c).Readable })
	if slices.ContainsFunc(closed, func(c string) bool { return !slices.Contains(columnsAdded, c) }) {
		return nil, unseen{fmt.Errorf("role %[1]s may not read all columns of %[2]s that Rollcall needs; as its owner run: grant select (%[3]s) on %[4]s to %[1]s; or %[5]s",
			target.Quote(t.Role), name, target.QuoteAll(closed), target.QuoteTable(name), remedy(source))}
	}
	u := &Users{db: db, source: source, name: name, empty: closed, rows: rowsOfTable(target.QuoteTable(name), closed), table: target.QuoteTable(name), living: "true", strict: !t.RowSecurityHides}
	if t.Column("deleted_at") != nil {
		u.living = livingOf
	}
	u.compare, u.detailed = compareUsers(u.rows.after, "null::text[]"), compareUsers(u.rows.after, differingColumns())
	u.absent = fmt.Sprintf(sql.Absent, u.table, u.living)
	u.countAbsent = fmt.Sprintf(sql.CountAbsent, u.table, u.living)
	u.sought = fmt.Sprintf(sql.Sought, u.rows.sought, knownBy(t), u.rows.known)
	columns = slices.DeleteFunc(columns, func(c string) bool { return slices.Contains(closed, c) })
	u.one = fmt.Sprintf(sql.One, u.table, target.QuoteAll(columns), sizeOfMetadata(columns))
	return u, nil
}

// livingOf is the condition of a user who lives: the year 1 is Supabase Auth's "never".
const livingOf = "(deleted_at is null or deleted_at < '0002-01-01')"

// sizeOfMetadata is how many bytes the metadata takes, of the columns that a table has. What takes
// more than $2 as it is stored is not decompressed.
func sizeOfMetadata(columns []string) string {
	sizes := []string{"0"}
	for _, c := range columns {
		if strings.HasPrefix(c, "raw_") {
			sizes = append(sizes, fmt.Sprintf("coalesce(case when pg_catalog.pg_column_size(%[1]s) > $2::bigint then pg_catalog.pg_column_size(%[1]s) "+
				"else pg_catalog.pg_column_size(%[1]s #> '{}'::text[]) end, 0)", c))
		}
	}
	return strings.Join(sizes, " + ")
}

// seesAll makes sure that no row security hides users: a role to whom it does reads no row
// and gets no error.
func (db *DB) seesAll(ctx context.Context, t *table, source, name string) error {
	if !t.RowSecurityHides {
		return nil
	}
	var open bool
	if err := db.pool.QueryRow(ctx, sql.OpenPolicy, t.oid).Scan(&open); err != nil {
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
	return unseen{fmt.Errorf("%w: %s, so it would read no user and no error; %s", ErrHidden, t.HiddenFrom(name), show+"; or "+remedy(source))}
}

// Visible fails with ErrHidden when row security hides users by now.
func (u *Users) Visible(ctx context.Context) error {
	if u.reader {
		return u.probe(ctx)
	}
	t, err := u.db.usersTable(ctx, u.name)
	if err != nil {
		return err
	}
	return u.db.seesAll(ctx, t, u.source, u.name)
}

// Count returns how many users the table has and how many living ones the roll.
func (u *Users) Count(ctx context.Context) (table, roll int64, err error) {
	err = u.db.pool.Scan(ctx, func(tx pgx.Tx) error {
		return tx.QueryRow(ctx, "select "+u.rows.count+`,
  (select pg_catalog.count(*) from rollcall.users where source = $1 and deleted_at is null)`, u.source).
			Scan(&table, &roll)
	})
	if err != nil {
		return 0, 0, fmt.Errorf("count users: %w", u.db.pool.Explain(err))
	}
	return table, roll, nil
}

// CountAbsent returns how many living users of the roll the table has no more.
func (u *Users) CountAbsent(ctx context.Context) (n int64, err error) {
	err = u.db.pool.Scan(ctx, func(tx pgx.Tx) error {
		return tx.QueryRow(ctx, u.countAbsent, u.source).Scan(&n)
	})
	if err != nil {
		return 0, fmt.Errorf("count users who are gone: %w", err)
	}
	return n, nil
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
	if err != nil {
		return nil, fmt.Errorf("look for users who are gone after %q: %w", after, err)
	}
	return absent, nil
}

// Living asks the table once more which of some users it has.
func (u *Users) Living(ctx context.Context, ids []string) (map[string]bool, error) {
	rows, _ := u.db.pool.Query(ctx, "select id::text from "+u.rows.some+" where id = any($1::uuid[]) and "+u.living, ids)
	living := map[string]bool{}
	var id string
	_, err := pgx.ForEachRow(rows, []any{&id}, func() error {
		living[id] = true
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("confirm that users are gone: %w", err)
	}
	return living, nil
}

// scanPair reads id, row, the version, columnsOfNew, changed_at and kept of the roll, and the moment.
func scanPair(row pgx.CollectableRow) (Pair, error) {
	var p Pair
	var u event.User
	var source, id *string
	var version *int64
	var known *time.Time
	columns, done := users.scan(&u)
	dest := slices.Concat([]any{&p.ID, &p.Row, &version, &source, &id}, columns, []any{&known, &u.Kept, &p.At})
	if err := row.Scan(dest...); err != nil || version == nil {
		return p, err
	}
	done()
	u.Source, u.ID, u.Version = *source, *id, *version
	if banOver(&u, p.At) { // as the provider's row is read
		u.Banned = false
	}
	p.Roll, p.Known = &u, *known
	return p, nil
}

// orZero is the value of a column that is null for a tombstone, and in a row made by hand.
func orZero[T any](value *T) (zero T) {
	if value == nil {
		return zero
	}
	return *value
}
