//go:build unix

package pgtest

import (
	"bytes"
	"fmt"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"
)

// Traces lists the columns, as schema.table.column, in which one of some words stands, in upper or lower case. It
// reads every table of every schema, PostgreSQL's own and their toast included, but not the schemas of except.
func (c *Conn) Traces(words []string, except ...string) []string {
	c.t.Helper()
	rows := c.Rows(`select format('%I.%I', n.nspname, c.relname), a.attname, a.atttypid = 'bytea'::regtype
from pg_class c join pg_namespace n on n.oid = c.relnamespace join pg_attribute a on a.attrelid = c.oid
where c.relkind in ('r', 'm', 't') and c.relpersistence <> 't' and a.attnum > 0 and not a.attisdropped
order by c.oid, a.attnum`)
	columns := map[string][]string{}
	var tables []string
	for _, row := range rows {
		cells := strings.Split(row, "|")
		if schema, _, _ := strings.Cut(cells[0], "."); slices.Contains(except, schema) {
			continue
		}
		if columns[cells[0]] == nil {
			tables = append(tables, cells[0])
		}
		value := pgx.Identifier{cells[1]}.Sanitize() + "::text"
		if cells[2] == "t" {
			value = "encode(" + pgx.Identifier{cells[1]}.Sanitize() + ", 'escape')"
		}
		columns[cells[0]] = append(columns[cells[0]], fmt.Sprintf("('%s', lower(%s))", cells[1], value))
	}
	var found []string
	for _, table := range tables {
		const names = "select distinct v.name from %s t cross join lateral (values %s) v (name, value) where %s order by 1"
		query := fmt.Sprintf(names, table, strings.Join(columns[table], ", "), holds("v.value", words))
		for _, column := range c.Rows(query) {
			found = append(found, table+"."+column)
		}
	}
	return found
}

// holds is a condition: a value in lower case holds one of some words.
func holds(value string, words []string) string {
	var list []string
	for _, w := range words {
		list = append(list, fmt.Sprintf("strpos(%s, '%s') > 0", value, strings.ReplaceAll(strings.ToLower(w), "'", "''")))
	}
	return "(" + strings.Join(list, " or ") + ")"
}

// Dump returns the contents of a schema as text: by pg_dump, where it is beside the server's programs, else by a
// copy of each table. Bodies of events are readable in it.
func (c *Conn) Dump(schema string) string {
	c.t.Helper()
	var dump bytes.Buffer
	tables := c.Rows("select format('%I.%I', schemaname, tablename) from pg_tables where schemaname = '" + schema + "'")
	for _, table := range tables {
		if _, err := c.PgConn().CopyTo(c.t.Context(), &dump, "copy "+table+" to stdout"); err != nil {
			c.t.Fatal(err)
		}
	}
	bodies := c.Rows(`select format('select encode(%I, ''escape'') from %I.%I where %1$I is not null', column_name, table_schema, table_name)
from information_schema.columns where data_type = 'bytea' and table_schema = '` + schema + "'")
	for _, query := range bodies {
		dump.WriteString(strings.Join(c.Rows(query), "\n"))
	}
	program := filepath.Join(c.Rows("select setting from pg_config where name = 'BINDIR'")[0], "pg_dump")
	if _, err := exec.LookPath(program); err != nil {
		return dump.String()
	}
	cmd := exec.CommandContext(c.t.Context(), program, "--schema", schema, "--dbname", c.Config().ConnString())
	out, err := cmd.CombinedOutput()
	if err != nil {
		c.t.Fatalf("pg_dump: %v\n%s", err, out)
	}
	return dump.String() + string(out)
}
