package directory

import (
	"fmt"
	"slices"
	"strings"

	"rollcall/internal/event"
	"rollcall/internal/target"
)

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

// Columns are the columns of auth.users that are ever read.
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

// StateOfRows is shapedUsers of some rows, up to a number of bytes, with a limit of the metadata; both
// are SQL.
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
