package directory

import (
	"context"
	"crypto/sha256"
	_ "embed"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"

	"rollcall/internal/postgres/catalog"
	"rollcall/internal/postgres/sqlstate"
	"rollcall/internal/target"
)

//go:embed reader.sql
var readerSQL string

// The rows of a provider's users come from its table itself, or from the functions of the reader,
// which its owner has made in the schema rollcall_provider for a role that may not read the table.

// rowSource is where the rows of a table of users come from: a row has id (uuid) and those of
// Columns that there are.
type rowSource struct {
	ofIDs  string // of the users $2 (ids), for readUsers: see rowsOfIDs
	one    string // of the user $1
	some   string // of the users $1 (ids)
	sought string // of the user s.id
	known  string // of users with s.email or s.phone since s.since
	after  string // a page after the id $2, for stateOfRows: see rowsAfterID
	living string // of the living users
	count  string // how many there are
}

// sizesRead are what the columns of metadata take as they are stored.
const sizesRead = `coalesce(pg_catalog.pg_column_size(raw_user_meta_data), 0) as user_size, coalesce(pg_catalog.pg_column_size(raw_app_meta_data), 0) as app_size`

// columnsTyped are columnsRead as null, as a cast of the column, by name, and as "name type".
// Closed columns are there, but can't be read.
func columnsTyped(closed ...string) (missing, typed, named, declared string) {
	lists := make([][]string, 4)
	for _, c := range columnsRead {
		read := c[0] + "::" + c[1]
		if slices.Contains(closed, c[0]) {
			read = "null::" + c[1] + " as " + c[0]
		}
		for i, text := range []string{"null::" + c[1] + " as " + c[0], read, c[0], c[0] + " " + c[1]} {
			lists[i] = append(lists[i], text)
		}
	}
	return strings.Join(lists[0], ", "), strings.Join(lists[1], ", "), strings.Join(lists[2], ", "),
		strings.Join(lists[3], ", ")
}

// rowsOfTable reads the table itself, without the closed columns.
func rowsOfTable(table string, closed []string) rowSource {
	missing, typed, _, _ := columnsTyped(closed...)
	return rowSource{
		ofIDs: fmt.Sprintf(rowsOfIDs, table, missing, typed+", "+sizesRead),
		after: fmt.Sprintf(rowsAfterID, table, missing, typed+", "+sizesRead),
		one:   table, some: table, sought: table, known: table, living: table,
		count: "(select pg_catalog.count(*) from " + table + ")",
	}
}

// rowsOfReader reads by the functions of a table's reader. One of an older version returns fewer
// columns: those that it lacks are null, as for rowsOfIDs.
func rowsOfReader(table string) rowSource {
	missing, _, named, _ := columnsTyped()
	f := "rollcall_provider." + readerOf(table)
	whole := func(call string) string {
		return fmt.Sprintf(`(select r.* from (select %s) missing cross join lateral (select id, %s, user_size, app_size from %s offset 0) r) users`, missing, named, call)
	}
	return rowSource{
		ofIDs: fmt.Sprintf(`select i.id, i.deleted, users.id is not null as there, %[2]s, user_size, app_size
  from unnest($2::text[], $3::boolean[]) i (id, deleted)
  left join %[1]s on users.id = i.id::uuid`, whole(f+"_of_ids($2::text[]::uuid[])"), named),
		one:    whole(f + "_of_ids(array[$1::uuid])"),
		some:   f + "_of_ids($1::uuid[])",
		sought: f + "_of_ids(array[s.id])",
		known:  f + "_known_by(s.email, s.phone, s.since)",
		after: fmt.Sprintf(`select id::text collate "C" as id, false as deleted, true as there, %[2]s, user_size, app_size
  from %[1]s`, whole(f+"_after($2::text::uuid, $3::bigint)"), named),
		living: f + "_living()",
		count:  f + "_count()",
	}
}

// readerFunctions are the ends of the names of a reader's functions.
var readerFunctions = []string{"_of_ids", "_after", "_known_by", "_living", "_count"}

// readerOf is the beginning of the names of the functions that read a table.
func readerOf(table string) string {
	if table == "auth.users" {
		return "users"
	}
	sum := sha256.Sum256([]byte(table))
	return "users_" + hex.EncodeToString(sum[:6])
}

// readerOfUsers is the reader of a source's table of users (t), nil where there is none that we may
// run. Its error says why the reader can't read.
func (d *Directory) readerOfUsers(ctx context.Context, source, name string, t *catalog.Table) (*Users, error) {
	names := make([]string, len(readerFunctions))
	for i, end := range readerFunctions {
		names[i] = readerOf(name) + end
	}
	var there bool
	var empty []string
	if err := d.Pool.QueryRow(ctx, readerSQL, t.OID, names, Columns).Scan(&there, &empty); err != nil {
		return nil, fmt.Errorf("look for the reader of %s: %w", name, d.Pool.Explain(err))
	}
	if !there {
		return nil, nil
	}
	u := &Users{directory: d, source: source, name: name, rows: rowsOfReader(name), Reader: true, Empty: empty,
		living: livingOf}
	if err := u.probe(ctx); err != nil {
		return nil, err
	}
	u.compare, u.detailed = compareUsers(u.rows.after, "null::text[]"), compareUsers(u.rows.after, differingColumns())
	u.absent = fmt.Sprintf(absentOfSQL, u.rows.living)
	u.countAbsent = fmt.Sprintf(countAbsentSQL, u.rows.living, "true")
	u.sought = fmt.Sprintf(soughtSQL, u.rows.sought, "true", u.rows.known)
	u.one = fmt.Sprintf(oneSQL, u.rows.one, target.QuoteAll(Columns), sizeOfMetadata(Columns))
	return u, nil
}

// probe asks the reader about no user: it fails where its owner may not read the table, or not all
// of its rows. A table that is locked is no reason to do without.
func (u *Users) probe(ctx context.Context) error {
	_, err := u.directory.Pool.Exec(ctx, "select from "+u.rows.some, []string{})
	switch {
	case Unreadable(err):
		return unseen{fmt.Errorf("%w: the reader of %s fails: %w", ErrHidden, u.name, err)}
	case err != nil && sqlstate.Of(err) != sqlstate.LockNotAvailable && sqlstate.Of(err) != sqlstate.QueryCanceled:
		return fmt.Errorf("ask the reader of %s: %w", u.name, u.directory.Pool.Explain(err))
	}
	return nil
}

// ReaderParts are the parts of the script that makes a table's reader.
type ReaderParts struct {
	Name     string // with which the names of its functions begin
	Missing  string // the columns as typed nulls
	Read     string // the columns and the sizes of the metadata, as they are selected
	Declared string // the same as the columns of a function's result
}

// PartsOfReader returns those of a table.
func PartsOfReader(name string) ReaderParts {
	missing, typed, _, declared := columnsTyped()
	return ReaderParts{readerOf(name), missing, typed + ", " + sizesRead, declared +
		", user_size integer, app_size integer"}
}
