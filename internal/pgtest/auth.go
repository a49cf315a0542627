//go:build unix

package pgtest

import _ "embed" // for Auth

// Auth is SQL that makes a database look as Supabase Auth leaves it: auth.users with its
// secrets and its row security.
//
//go:embed auth.sql
var Auth string
