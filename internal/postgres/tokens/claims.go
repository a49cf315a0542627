// Package tokens makes the functions in schema rollcall_api that have to do with tokens: the one that adds claims to the
// access tokens of Supabase's auth server, and those by which row security knows who asks. It hides how it is seen
// whether the first is the one that the configuration describes, and who may call it:
//
//	state, err := tokens.Tokens{Pool: pool}.State(ctx, claims)
//	if !state.Current {
//		err = tokens.Tokens{Pool: pool}.Install(ctx, claims)
//	}
package tokens

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"rollcall/internal/postgres/catalog"
	"rollcall/internal/postgres/connection"
	"rollcall/internal/target"
)

// Tokens are the functions of a database.
type Tokens struct{ Pool *connection.Pool }

// State is how the function of some claims is.
type State struct {
	// Installed: it is there.
	Installed bool
	// Current: its text is that of the configuration, and it runs as Install says.
	Current bool
	// Owner is the role that it runs as.
	Owner string
	// Others are the roles, beside its owner and the auth server's, that may call it.
	Others []string
	// Callable: the auth server may call it.
	Callable bool
}

// Said is the state in words, and whether an installation corrects it.
func (s State) Said() (said string, wrong bool) {
	switch {
	case !s.Installed:
		return "not installed: tokens have none of the claims", true
	case !s.Current:
		return "older than the configuration, or changed by hand", true
	case !s.Callable:
		return "the auth server may not call it: no user can sign in while it is chosen", true
	case len(s.Others) > 0:
		return "others may call it: " + strings.Join(s.Others, ", "), true
	}
	return "installed, run as " + s.Owner, false
}

// roll is that of users, as expressions see it.
func roll() *target.Roll { return catalog.RollOf(&target.Target{}) }

const stateSQL = `select p.prosrc, p.prosecdef, coalesce(p.proconfig, '{}'), p.proowner::pg_catalog.regrole::text,
	coalesce((select pg_catalog.array_agg(g.who order by g.who) from (
		select case a.grantee when 0 then 'public' else pg_catalog.pg_get_userbyid(a.grantee) end as who
		from pg_catalog.aclexplode(coalesce(p.proacl, pg_catalog.acldefault('f', p.proowner))) a
		where a.privilege_type = 'EXECUTE' and a.grantee <> p.proowner) g where g.who <> $2), '{}'),
	exists (select from pg_catalog.pg_roles r where r.rolname = $2
		and pg_catalog.has_function_privilege(r.oid, p.oid, 'execute') and pg_catalog.has_schema_privilege(r.oid, p.pronamespace, 'usage'))
from pg_catalog.pg_proc p
where p.pronamespace = pg_catalog.to_regnamespace('rollcall_api') and p.proname = $1 and p.proargtypes = '3802'`

// State looks at the function.
func (t Tokens) State(ctx context.Context, c *target.Claims) (State, error) {
	s := State{Installed: true}
	var text string
	var definer bool
	var settings []string
	err := t.Pool.QueryRow(ctx, stateSQL, c.Function(), c.Role).Scan(&text, &definer, &settings, &s.Owner, &s.Others, &s.Callable)
	if errors.Is(err, pgx.ErrNoRows) {
		return State{}, nil
	}
	s.Current = definer && slices.Equal(settings, claimsSettings) && text == body(c)
	return s, connection.Wrap(t.Pool.Explain(err), "look at the function of the claims of source %s", c.Source)
}

// RefusedError says which expression PostgreSQL refuses.
type RefusedError struct {
	At   string // its place, file:line:column
	What string
}

// Error implements error.
func (e *RefusedError) Error() string { return e.At + ": " + e.What }

// Check has PostgreSQL read the expressions, with the rights of Rollcall's role. The error is a RefusedError about the
// first that it refuses; it refuses one that reads a table whose row security would hide rows, too.
func (t Tokens) Check(ctx context.Context, c *target.Claims) error {
	for _, a := range c.Set {
		err := t.try(ctx, a, claimsPath)
		var refused *pgconn.PgError
		switch {
		case errors.As(err, &refused):
			what := fmt.Sprintf("claim %s of source %s: %s (%s)", a.Column, c.Source, refused.Message, refused.Code)
			if t.lacksSchema(ctx, a, refused.Code) {
				what += "; write tables, functions and types with their schema, such as public.NAME: the function finds no other names"
			}
			return &RefusedError{a.Expr.At, what}
		case err != nil:
			return connection.Wrap(t.Pool.Explain(err), "check the claims of source %s", c.Source)
		}
	}
	return nil
}

// lacksSchema reports whether PostgreSQL answers otherwise to a claim if names may be those of public.
func (t Tokens) lacksSchema(ctx context.Context, a target.Assignment, code string) bool {
	var other *pgconn.PgError
	err := t.try(ctx, a, "pg_catalog, public")
	return err == nil || errors.As(err, &other) && other.Code != code
}

// try plans a claim, with names from the schemas of a path.
func (t Tokens) try(ctx context.Context, a target.Assignment, path string) error {
	one := &target.Claims{Set: []target.Assignment{a}}
	return pgx.BeginFunc(ctx, t.Pool, func(tx pgx.Tx) error {
		_, err := tx.Exec(ctx, "set local row_security = off")
		if err == nil {
			_, err = tx.Exec(ctx, "set local search_path = "+path)
		}
		if err == nil {
			_, err = tx.Exec(ctx, "explain "+valuesOf(one))
		}
		return err
	})
}

// Install checks the expressions, and creates the function or replaces it.
func (t Tokens) Install(ctx context.Context, c *target.Claims) error {
	if err := t.Check(ctx, c); err != nil {
		return err
	}
	return t.run(ctx, Script(c), "install the claims of source %s", c.Source)
}

// Remove drops the function. Take it out of the auth server's settings first: without it no user can sign in.
func (t Tokens) Remove(ctx context.Context, c *target.Claims) error {
	return t.run(ctx, "drop function if exists rollcall_api."+c.Function()+"(jsonb)", "remove the claims of source %s", c.Source)
}

func (t Tokens) run(ctx context.Context, script, words string, args ...any) error {
	return t.Pool.AcquireFunc(ctx, func(conn *pgxpool.Conn) error {
		_, err := conn.Conn().PgConn().Exec(ctx, script).ReadAll()
		return connection.Wrap(t.Pool.Explain(err), words, args...)
	})
}
