//go:build unix

package pgtest

import (
	"crypto/rand"
	_ "embed" // for hosted
	"fmt"
	"strings"
	"testing"
)

//go:embed hosted.sql
var hosted string

// Hosted is a database with the roles and privileges of a hosted Supabase project.
type Hosted struct {
	URL string // as a superuser, which no role of such a project is
	t   testing.TB
	end string // of the names of the roles
}

// NewHosted makes the database of a hosted project: Auth, then SQL of the test. Its roles go with
// the test.
func NewHosted(t testing.TB, sqls ...string) *Hosted {
	t.Helper()
	h := &Hosted{t: t, end: strings.ToLower(rand.Text())[:16]}
	var server string
	for _, role := range hostedRoles { // after the database is gone, nothing belongs to them
		atEnd(t, "drop a role of the test", func() error { return execute(server, "DROP ROLE IF EXISTS "+h.Role(role)) })
	}
	h.URL = New(t)
	server = withDatabase(h.URL, "postgres")
	name := h.URL[strings.LastIndex(h.URL, "/")+1:]
	name, _, _ = strings.Cut(name, "?")
	if err := execute(h.URL, append([]string{Auth, fmt.Sprintf(hosted, h.end, name)}, sqls...)...); err != nil {
		t.Fatalf("make a hosted project: %v", err)
	}
	return h
}

// hostedRoles are the roles of hosted.sql, and the one that a test makes for Rollcall.
var hostedRoles = []string{
	"rollcall", "authenticator", "anon", "authenticated", "service_role", "stranger", "owner", "supabase_auth_admin", "supabase_admin",
}

// Role is the name of a role in this project: owner is Supabase's postgres, one has no more than
// PUBLIC, and rollcall is for the test to make.
func (h *Hosted) Role(role string) string { return role + "_" + h.end }

// As is the database's URL for a role of the project.
func (h *Hosted) As(role string) string { return As(h.t, h.URL, h.Role(role)) }

// Auth is SQL that makes a database look as Supabase Auth leaves it: auth.users with its
// secrets and its row security.
//
//go:embed auth.sql
var Auth string
