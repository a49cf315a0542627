package target

import (
	_ "embed"
	"fmt"
	"slices"
	"strings"
)

// Claims are what a function adds to the access tokens of Supabase's auth server, which calls it at each sign-in and
// each refresh.
type Claims struct {
	Source string // whose users they are about
	// Set gives each claim its value, over the record new: the row of the user in the roll, or nulls for a user that
	// the roll does not have or who is deleted.
	Set []Assignment
	// Role is that of the auth server, which alone may call the function.
	Role string
}

// AuthServer is the role that Supabase's auth server works as.
const AuthServer = "supabase_auth_admin"

// ReservedClaims are Supabase's own: all that the auth server's tokens may have, most of which its schema of tokens
// requires or gives a type, and which PostgREST and the client libraries read; and ref, which those of API keys have.
var ReservedClaims = []string{
	"aal", "amr", "app_metadata", "aud", "client_id", "email", "exp", "iat", "is_anonymous", "iss", "jti", "nbf", "phone",
	"ref", "role", "scope", "session_id", "sub", "user_metadata",
}

// MaxSource is how long the name of a source may be for PostgreSQL not to cut that of its function.
const MaxSource = 63 - len(claimsPrefix)

//go:embed claims.sql
var claimsSQL string

// claimsPrefix begins the names of the functions.
const claimsPrefix = "access_token_claims_"

// ClaimsPath is where the function finds names without a schema: with the rights of its owner it must find none that
// others can create. Unless it is named, pg_temp is searched first.
const ClaimsPath = "pg_catalog, pg_temp"

// ClaimsSettings are those that the function sets, as pg_proc has them: a hidden row is an error, and it waits for no
// lock longer than half a second.
var ClaimsSettings = []string{"search_path=" + ClaimsPath, "row_security=off", "lock_timeout=500"}

// Function is the name of the function, in the schema rollcall_api.
func (c *Claims) Function() string { return claimsPrefix + strings.ReplaceAll(c.Source, "-", "_") }

// Lint finds what is wrong with the claims without a database: the place (file:line:column) and what it is.
func (c *Claims) Lint(roll *Roll) []Finding {
	var found []Finding
	for _, a := range c.Set {
		what := roll.lintExpr(a.Expr)
		if slices.Contains(ReservedClaims, a.Column) {
			what = "Supabase gives this claim itself, and others rely on it; choose another name, such as app_role"
		}
		if what != "" {
			found = append(found, Finding{Code: ClaimInvalid, At: a.Expr.At, What: fmt.Sprintf("claim %s: %s", a.Column, what)})
		}
	}
	return found
}

// Values is a statement with a column for each claim, for a user that the roll does not have: PostgreSQL says what is
// wrong with an expression.
func (c *Claims) Values(roll *Roll) string {
	return "select " + strings.Join(each(c.Set, func(_ int, a Assignment) string {
		return expression(a) + " as " + Quote(a.Column)
	}), ", ") + " from (select) one left join lateral (select " + roll.record() + " from " + roll.Table + " u where false) new on true"
}

// Body is the text of the function.
func (c *Claims) Body(roll *Roll) string {
	values := each(c.Set, func(_ int, a Assignment) string {
		return fmt.Sprintf("(%s, (select pg_catalog.to_jsonb(value) from (select %s as value) claim))", Literal(a.Column), expression(a))
	})
	return fmt.Sprintf(part(claimsSQL, "body"), c.Source, roll.record(), roll.Table, Literal(c.Source), strings.Join(values, ",\n    "))
}

// Install creates the function for the role that runs it, or replaces it. It is one transaction.
func (c *Claims) Install(roll *Roll) string {
	body, quote := c.Body(roll), "$rollcall$"
	for strings.Contains(body, quote) {
		quote = "$rollcall" + quote[1:]
	}
	return fmt.Sprintf(part(claimsSQL, "install"), c.Function(), body, c.Source, quote, Quote(c.Role), Literal(c.Role), "set "+strings.Join(ClaimsSettings, " set "))
}

func expression(a Assignment) string { return "(\n" + a.Expr.SQL + "\n)" }

// part is a section of a file of SQL.
func part(file, name string) string {
	_, text, _ := strings.Cut(file, "-- section "+name+"\n")
	text, _, _ = strings.Cut(text, "-- section ")
	return text
}
