package directory

import (
	"context"
	"crypto/sha256"
	_ "embed"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"

	"rollcall/internal/event"
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
	u.stretch, u.ids = stretchesOf(u)
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

// PartsOfReader returns the parts of the reader of a table; name is schema.table.
func PartsOfReader(name string) ReaderParts {
	missing, typed, _, declared := columnsTyped()
	return ReaderParts{readerOf(name), missing, typed + ", " + sizesRead, declared +
		", user_size integer, app_size integer"}
}

// How rows of a provider's table become the state of users as the roll has them: which rows are read,
// and what the roll makes of them. The roll's own transactions say what is done with that.

// rowsOfIDs reads users ($2 ids, $3 whether a signal said that the user was deleted) from a
// provider's table (%[1]s): one row for each id, there or not.
//
// A column that the table lacks is null: an unqualified name is sought in the table first, then
// among the typed nulls (%[2]s).
const rowsOfIDs = `select i.id, i.deleted, u.*
  from unnest($2::text[], $3::boolean[]) i (id, deleted)
  left join lateral (
    select true as there, r.*
    from (select %[2]s) missing
    cross join lateral (
      select %[3]s
      from %[1]s u where u.id = i.id::uuid
      offset 0
    ) r
  ) u on true`

// rowsAfterID reads a page of a provider's table (%[1]s), as above: after the id $2, null for the
// beginning, $3 users at most. Its beginning must be a condition of the table's key in a plan that is
// made once for the first page and the others, or each page reads all that was before it: hence
// "distinct" instead of an "or". As texts in collation "C", uuids have the order that they have
// themselves.
const rowsAfterID = `select r.key::text collate "C" as id, false as deleted, true as there, r.*
  from (select %[2]s) missing
  cross join lateral (
    select u.id as key, %[3]s
    from %[1]s u
    where u.id >= coalesce($2::text::uuid, '00000000-0000-0000-0000-000000000000'::uuid) and u.id is distinct from $2::text::uuid
    order by u.id limit $3::bigint
  ) r`

// shapedUsers are the rows (%[1]s) as the roll has users: "state", with the columns of new, the
// version, whether they are there and whether they live. It stops after a number of bytes (%[4]s),
// but shapes one row at least. The bytes are those that are stored, which may be compressed: they
// count eightfold. value #> '{}' is the value itself, decompressed once and not for each of its
// keys; it shows its true size. What takes more than limits.metadata (%[5]s) as it is stored is not
// decompressed. What is too large, or has too long numbers (%[6]s, %[7]s),
// keeps its last known value: kept names the columns. The fields of the roll (%[8]s) come last.
const shapedUsers = `page as (
  select r.*, coalesce(pg_catalog.sum(8::bigint * (r.user_size + r.app_size)) over (order by r.id collate "C" rows between unbounded preceding and 1 preceding), 0::numeric)::bigint as before
  from (%[1]s) r
), have as materialized (
  select p.id, p.deleted, p.there is true as there, nullif(p.email, '') as email, nullif(p.phone, '') as phone,
    case when pg_catalog.pg_column_size(v.user_meta) <= %[5]s then v.user_meta end as user_meta,
    case when pg_catalog.pg_column_size(v.app_meta) <= %[5]s then v.app_meta end as app_meta,
    p.user_size > %[5]s or pg_catalog.pg_column_size(v.user_meta) > %[5]s or %[6]s as user_kept,
    p.app_size > %[5]s or pg_catalog.pg_column_size(v.app_meta) > %[5]s or %[7]s as app_kept,
    coalesce(p.is_anonymous, false) as is_anonymous, coalesce(p.is_sso_user, false) as is_sso_user,
    %[2]s
  from page p
  cross join lateral (
    select case when p.user_size <= %[5]s then p.raw_user_meta_data #> '{}'::text[] end as user_meta,
      case when p.app_size <= %[5]s then p.raw_app_meta_data #> '{}'::text[] end as app_meta
    offset 0
  ) v
  where p.before < %[4]s
), named as (
  select h.*, case when pg_catalog.jsonb_typeof(meta) = 'object' then meta else '{}' end as raw_user_meta_data,
    case when not app_kept and pg_catalog.jsonb_typeof(app_meta) = 'object' then app_meta else '{}' end as raw_app_meta_data,
    %[3]s
  from have h
  cross join lateral (select case when not user_kept then user_meta end as meta, case when not user_kept then user_meta->'custom_claims'::text end as claims offset 0) m
), state as (
  select id, deleted, there, there and deleted_at is null as living,
    case when there then (extract(epoch from coalesce(updated_at, created_at, 'epoch')) * 1000000::numeric)::bigint end as version,
    %[8]s,
    case when there then deleted_at else pg_catalog.statement_timestamp() end as deleted_at,
    case when there and deleted_at is null then nullif(pg_catalog.concat_ws(' ',
      case when user_kept then %[9]s end, case when app_kept then 'raw_app_meta_data' end), '') end as kept
  from named
)`

// longNumbers reports whether a document has eight numbers or more of over a hundred digits. jsonb
// keeps 1e131071 in a few bytes, but as a text it has all its digits: 90 kB become more
// than a gigabyte, which PostgreSQL refuses to make. A document with fewer takes a megabyte more at
// most. Less than 100 bytes hold no eight. It does not look deeper than the stack allows.
const longNumbers = `case when pg_catalog.pg_column_size(%[1]s) > 100 then (select pg_catalog.count(*) >= 8 from (
      select from pg_catalog.jsonb_path_query(%[1]s, 'strict $.**{0 to 1000} ? (@.type() == "number"
        && (@ >= 1e100 || @ <= -1e100 || (@ != 0 && @ < 1e-100 && @ > -1e-100)))'::jsonpath) limit 8) long) else false end`

// columnsRead are the columns of a provider's table of users, with their types, beside its key.
var columnsRead = [][2]string{
	{"email", "text"}, {"phone", "text"}, {"raw_user_meta_data", "jsonb"}, {"raw_app_meta_data", "jsonb"},
	{"is_anonymous", "boolean"}, {"is_sso_user", "boolean"},
	{"email_confirmed_at", "timestamptz"}, {"phone_confirmed_at", "timestamptz"}, {"banned_until", "timestamptz"},
	{"invited_at", "timestamptz"}, {"created_at", "timestamptz"}, {"updated_at", "timestamptz"},
	{"last_sign_in_at", "timestamptz"}, {"deleted_at", "timestamptz"},
}

// Columns are the columns of auth.users that Rollcall ever reads, id first.
var Columns = func() []string {
	list := []string{"id"}
	for _, c := range columnsRead {
		list = append(list, c[0])
	}
	return list
}()

// columnsAdded are those of them that older versions do not read: a role may still have rights to the
// others only.
var columnsAdded = []string{"is_sso_user", "invited_at"}

// namesRead are the columns of the roll that come from the metadata, and the keys that are asked
// for each of them, in this order; below custom_claims after all others. Package source has the
// same for the bodies of events.
var namesRead = [][]string{
	{"username", "username", "user_name", "preferred_username"},
	{"first_name", "first_name", "given_name"},
	{"last_name", "last_name", "family_name"},
	{"full_name", "full_name", "name"},
	{"avatar_url", "avatar_url", "picture"},
}

// valuesRead are the fields of the roll that are more than a column of the table, or a name, by name.
// Of a field that the table knows nothing of, a user has none.
var valuesRead = map[string]string{
	"email_verified":     "email_confirmed_at is not null",
	"phone_verified":     "phone_confirmed_at is not null",
	"full_name":          "coalesce(full_name, nullif(pg_catalog.concat_ws(' ', first_name, last_name), ''))",
	"raw_user_meta_data": "raw_user_meta_data",
	"raw_app_meta_data":  "raw_app_meta_data",
	"banned":             "coalesce(banned_until > pg_catalog.statement_timestamp(), false)",
	"updated_at":         "coalesce(updated_at, created_at, 'epoch')",
}

// valueRead is a field of the roll as the table has it.
func valueRead(f *event.Field) string {
	value := valuesRead[f.Name]
	known := slices.ContainsFunc(columnsRead, func(c [2]string) bool { return c[0] == f.Name }) ||
		slices.ContainsFunc(namesRead, func(keys []string) bool { return keys[0] == f.Name })
	switch {
	case value != "":
	case known:
		return f.Name
	case f.Type == event.Boolean:
		value = "false"
	default:
		value = "null::" + string(f.Type)
	}
	return value + " as " + f.Name
}

// keptOfMetadata are the columns that keep their value where the user's metadata is too large.
var keptOfMetadata = func() string {
	list := []string{"raw_user_meta_data"}
	for _, keys := range namesRead {
		list = append(list, keys[0])
	}
	slices.Sort(list)
	return strings.Join(list, " ")
}()

// StateOfRows is the beginning of a list of common table expressions whose last one, state, has what the roll makes
// of a provider's rows. The rows are a query such as RowsOfIDs; bytes bounds the metadata of all of them, and
// metadata that of one user, both as SQL.
func StateOfRows(rows, bytes, metadata string) string {
	var times, names, values []string
	for i := range event.Users.Fields {
		values = append(values, valueRead(&event.Users.Fields[i]))
	}
	for _, c := range columnsRead {
		if c[1] == "timestamptz" {
			times = append(times, timeRead(c[0]))
		}
	}
	for _, keys := range namesRead {
		names = append(names, nameRead(keys[0], keys[1:]))
	}
	return fmt.Sprintf(shapedUsers, rows, strings.Join(times, ",\n    "), strings.Join(names, ",\n    "), bytes, metadata,
		fmt.Sprintf(longNumbers, "v.user_meta"), fmt.Sprintf(longNumbers, "v.app_meta"), strings.Join(values, ",\n    "),
		target.Literal(keptOfMetadata))
}

// timeRead holds a time within the years 2 to 9999, as package source does: what lies before is
// Supabase Auth's way to say never.
func timeRead(column string) string {
	return fmt.Sprintf("case when p.%[1]s >= '0002-01-01Z' then least(p.%[1]s, '9999-12-31 23:59:59Z') end as %[1]s",
		column)
}

// nameRead is the first of some keys of the metadata that is a text, and not an empty one.
func nameRead(column string, keys []string) string {
	var list []string
	for _, from := range []string{"meta", "claims"} {
		for _, k := range keys {
			also := ""
			if k == "preferred_username" { // Azure has an e-mail address there
				also = fmt.Sprintf(" and pg_catalog.strpos(%s->>%s::text, '@'::text) = 0", from, target.Literal(k))
			}
			list = append(list, fmt.Sprintf(
				"case when pg_catalog.jsonb_typeof(%[1]s->%[2]s::text) = 'string'%[3]s then nullif(%[1]s->>%[2]s::text, '') end", from, target.Literal(k), also))
		}
	}
	return "coalesce(" + strings.Join(list, ", ") + ") as " + column
}
