// Package catalog describes tables from PostgreSQL's catalog, and lets PostgreSQL check the expressions of a target
// on its table. It hides the queries to the catalog, and what of it a target's statements depend on (State):
//
//	t, err := catalog.Read(ctx, conn, "public.profiles")
//	compiled, findings, err := catalog.Compile(ctx, conn, &target, states[target.Name])
package catalog

import (
	"context"
	_ "embed"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"

	"rollcall/internal/target"
)

// Table is what the catalog says about a table.
type Table struct {
	target.Table
	OID      uint32
	Lockable bool     // the role may lock it
	Triggers bool     // the application has some on it
	Parents  []uint32 // the tables that it references
}

// The statements; the files describe their parameters.
var (
	//go:embed table.sql
	tableSQL string
	//go:embed columns.sql
	columnsSQL string
	//go:embed indexes.sql
	indexesSQL string
	//go:embed references.sql
	referencesSQL string
	//go:embed catalog.sql
	catalogSQL string
	//go:embed closed.sql
	closedSQL string
	//go:embed defaults.sql
	defaultsSQL string
	//go:embed grants.sql
	grantsSQL string
	//go:embed near_tables.sql
	nearTablesSQL string
	//go:embed own_table.sql
	ownTableSQL string
	//go:embed surroundings.sql
	surroundingsSQL string
	//go:embed users_references.sql
	usersReferencesSQL string
)

// ErrNoTable means that there is no table of that name.
var ErrNoTable = errors.New("no such table")

// Read reads a table's description; ErrNoTable when there is none.
func Read(ctx context.Context, conn *pgx.Conn, name string) (*Table, error) {
	schema, relation := target.SplitTable(name)
	t := &Table{}
	err := conn.QueryRow(ctx, tableSQL, schema, relation).Scan(&t.OID, &t.Kind, &t.RowSecurityHides, &t.MissingPrivileges,
		&t.BeforeInsertTrigger, &t.Lockable, &t.Triggers, &t.Role, &t.RowSecurityForced, &t.RowSecurityBinds, &t.PartitionedBy)
	if errors.Is(err, pgx.ErrNoRows) {
		return nil, ErrNoTable
	}
	if err != nil {
		return nil, fmt.Errorf("read table %s from the catalog: %w", name, err)
	}
	return t, t.readParts(ctx, conn)
}

func (t *Table) readParts(ctx context.Context, conn *pgx.Conn) error {
	var err error
	rows, _ := conn.Query(ctx, columnsSQL, t.OID)
	if t.Columns, err = pgx.CollectRows(rows, pgx.RowToStructByPos[target.Column]); err != nil {
		return fmt.Errorf("read the columns from the catalog: %w", err)
	}
	rows, _ = conn.Query(ctx, indexesSQL, t.OID)
	if t.Indexes, err = pgx.CollectRows(rows, pgx.RowToStructByPos[target.Index]); err != nil {
		return fmt.Errorf("read the unique indexes from the catalog: %w", err)
	}
	rows, _ = conn.Query(ctx, referencesSQL, t.OID)
	if t.Parents, err = pgx.CollectRows(rows, pgx.RowTo[uint32]); err != nil {
		return fmt.Errorf("read the foreign keys from the catalog: %w", err)
	}
	return nil
}
