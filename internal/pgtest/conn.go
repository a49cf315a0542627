//go:build unix

package pgtest

import (
	"context"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"

	"rollcall/sql"
)

// Conn is a connection by which a test looks at its database and changes it. What fails ends the
// test.
type Conn struct {
	*pgx.Conn
	t testing.TB
}

// Connect opens a connection, which ends with the test.
func Connect(t testing.TB, database string) *Conn {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), database)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close(context.Background()) })
	return &Conn{conn, t}
}

// NewMigrated returns the URL of a new database with the schema rollcall; sqls run before the migrations.
func NewMigrated(t testing.TB, sqls ...string) string {
	t.Helper()
	sqls = append(sqls, "create schema rollcall")
	for _, m := range sql.Migrations() {
		sqls = append(sqls, m.SQL)
	}
	return NewWith(t, sqls...)
}

// Run runs any number of statements.
func (c *Conn) Run(statements string) {
	c.t.Helper()
	Exec(c.t, c.Conn, statements)
}

// Exec runs any number of statements on a connection that Connect has not opened.
func Exec(t testing.TB, conn *pgx.Conn, statements string) {
	t.Helper()
	if _, err := conn.PgConn().Exec(t.Context(), statements).ReadAll(); err != nil {
		t.Fatalf("%s: %v", statements, err)
	}
}

// Rows returns the rows of a query, each as its columns joined by a bar, with ∅ for null.
func (c *Conn) Rows(query string) []string {
	c.t.Helper()
	results, err := c.PgConn().Exec(c.t.Context(), query).ReadAll()
	if err != nil {
		c.t.Fatalf("%s: %v", query, err)
	}
	list := []string{}
	for _, row := range results[len(results)-1].Rows {
		cells := make([]string, len(row))
		for i, cell := range row {
			cells[i] = string(cell)
			if cell == nil {
				cells[i] = "∅"
			}
		}
		list = append(list, strings.Join(cells, "|"))
	}
	return list
}

// WantRows fails the test unless a query has these rows, in this order, as Rows writes them.
func (c *Conn) WantRows(query string, want ...string) {
	c.t.Helper()
	if want == nil {
		want = []string{}
	}
	if diff := cmp.Diff(want, c.Rows(query)); diff != "" {
		c.t.Errorf("%s (-want +got):\n%s", query, diff)
	}
}
