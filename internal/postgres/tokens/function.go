package tokens

import (
	_ "embed"
	"fmt"
	"strings"

	"rollcall/internal/target"
)

//go:embed claims.sql
var claimsSQL string

// claimsPath is where the function finds names without a schema: with the rights of its owner it must find none that
// others can create. Unless it is named, pg_temp is searched first.
const claimsPath = "pg_catalog, pg_temp"

// claimsSettings are those that the function sets, as pg_proc has them: a hidden row is an error, and it waits for no
// lock longer than half a second.
var claimsSettings = []string{"search_path=" + claimsPath, "row_security=off", "lock_timeout=500"}

// valuesOf is a statement with a column for each claim, for a user that the roll does not have: PostgreSQL says what is
// wrong with an expression. In a case it may not return a set, of which there could be several.
func valuesOf(c *target.Claims) string {
	var values []string
	for _, a := range c.Set {
		values = append(values, value("case when true then "+expression(a)+" end"))
	}
	return "select c.* from (select) one left join lateral (select " + roll().Record() + " from " + roll().Table + " u where false) new on true cross join lateral (values (" +
		strings.Join(values, ", ") + ")) c"
}

// body is the text of the function.
func body(c *target.Claims) string {
	var values []string
	for _, a := range c.Set {
		values = append(values, fmt.Sprintf("(%s, %s)", target.Literal(a.Column), value(expression(a))))
	}
	return fmt.Sprintf(part(claimsSQL, "body"), c.Source, roll().Record(), roll().Table, target.Literal(c.Source), strings.Join(values, ",\n    "))
}

// Script is SQL that creates the function for the role that runs it, or replaces it. It is one transaction.
func Script(c *target.Claims) string {
	body, quote := body(c), "$rollcall$"
	for strings.Contains(body, quote) {
		quote = "$rollcall" + quote[1:]
	}
	return fmt.Sprintf(part(claimsSQL, "install"), c.Function(), body, c.Source, quote, target.Quote(c.Role), target.Literal(c.Role), "set "+strings.Join(claimsSettings, " set "))
}

// value is what an expression says, as JSON.
func value(sql string) string {
	return "(select pg_catalog.to_jsonb(value) from (select " + sql + " as value) claim)"
}

func expression(a target.Assignment) string { return "(\n" + a.Expr.SQL + "\n)" }

// part is a section of a file of SQL.
func part(file, name string) string {
	_, text, _ := strings.Cut(file, "-- section "+name+"\n")
	text, _, _ = strings.Cut(text, "-- section ")
	return text
}
