package postgres

import (
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"

	"rollcall/internal/postgres/sqlstate"
	"rollcall/internal/sqltext"
)

// What PostgreSQL refuses in a target, in words that name the column and what to do.

// explainColumn says what PostgreSQL refuses in an expression, of which column.
func (c *compiler) explainColumn(a Assignment) func(*pgconn.PgError) string {
	return func(e *pgconn.PgError) string {
		return fmt.Sprintf("column %s: %s in %s; %s",
			quote(a.Column), c.words(e), a.Expr.abridged(), c.hint(e, a.Column, a.Expr.SQL))
	}
}

// hint says what to do about a refused expression.
func (c *compiler) hint(e *pgconn.PgError, column, sql string) string {
	if meant := elsewhere(sql); meant != "" {
		return meant
	}
	switch e.Code {
	case "42703", "42P01":
		return "the record new has " + strings.Join(columnsOfNew, ", ")
	case "42846", "42804":
		if tab := c.table.column(column); tab != nil {
			return "the expression must give a " + tab.Type
		}
	case sqlstate.InsufficientPrivilege:
		return c.grants(e)
	case "42883":
		return "name a function with its schema unless it is in pg_catalog or public, and mind the types of its arguments"
	}
	return "write one SQL expression over the record new"
}

// namesElsewhere are fields that expressions pasted from a trigger, from Clerk's or from
// Supabase's own JSON use, and what they are called here.
var namesElsewhere = map[string]string{
	"image_url": "avatar_url", "profile_image_url": "avatar_url", "picture": "avatar_url", "name": "full_name",
	"user_metadata": "raw_user_meta_data", "unsafe_metadata": "raw_user_meta_data",
	"app_metadata": "raw_app_meta_data", "public_metadata": "raw_app_meta_data",
	"email_address": "email", "email_addresses": "email", "phone_number": "phone", "phone_numbers": "phone",
	"user_id": "id", "confirmed_at": "email_confirmed_at", "given_name": "first_name", "family_name": "last_name",
}

// elsewhere says what a field of another record is called in new, or "".
func elsewhere(sql string) string {
	tokens, _ := sqltext.Scan(sql)
	for i, t := range tokens {
		if i < 2 || tokens[i-1].Text != "." || tokens[i-2].Text != "new" {
			continue
		}
		if here := namesElsewhere[t.Text]; here != "" {
			return "it is new." + here + " here"
		}
		if t.Text == "role" {
			return "a provider knows no role of yours: give a constant in on_insert, such as \"'customer'\", " +
				"or read one from new.raw_app_meta_data->>'role'"
		}
	}
	return ""
}

// explainKey says what PostgreSQL refuses in a column of the key, of which source's ids.
func (c *compiler) explainKey(o Origin, k Assignment) func(*pgconn.PgError) string {
	return func(e *pgconn.PgError) string {
		if e.Code == "42703" {
			return fmt.Sprintf("key column %s: %s; a key uses only new.source, new.id and constants",
				quote(k.Column), c.words(e))
		}
		return fmt.Sprintf("key column %s can't hold the ids of source %s, such as %s: %s; "+
			"use a text column, or leave the source out of from", quote(k.Column), o.Source, o.SampleID, c.words(e))
	}
}

// words is PostgreSQL's own message, with its code.
func words(e *pgconn.PgError) string { return fmt.Sprintf("%s (%s)", e.Message, e.Code) }

// words leaves PostgreSQL's own message out where a variable was put into an expression: it
// may be quoted there.
func (c *compiler) words(e *pgconn.PgError) string {
	exprs := []Expr{}
	for _, a := range slices.Concat(c.Set, c.OnInsert, c.Gone) {
		exprs = append(exprs, a.Expr)
	}
	if c.Where != nil {
		exprs = append(exprs, *c.Where)
	}
	for _, x := range exprs {
		if x.Written != "" && x.Written != x.SQL {
			return "refused by PostgreSQL (" + e.Code + ")"
		}
	}
	return words(e)
}
