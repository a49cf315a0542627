package target

import (
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

// claimsPrefix begins the names of the functions.
const claimsPrefix = "access_token_claims_"

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
