package postgres

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"

	"rollcall/internal/target"
	"rollcall/sql"
)

// table is what the catalog says about a table.
type table struct {
	target.Table
	oid      uint32
	lockable bool
	triggers bool     // the application has some on it
	parents  []uint32 // the tables it references
}

var errNoTable = errors.New("no such table")

// readTable reads a table's description; errNoTable when there is none.
func readTable(ctx context.Context, conn *pgx.Conn, name string) (*table, error) {
	schema, relation := target.SplitTable(name)
	t := &table{}
	err := conn.QueryRow(ctx, sql.Table, schema, relation).Scan(&t.oid, &t.Kind, &t.RowSecurityHides, &t.MissingPrivileges,
		&t.BeforeInsertTrigger, &t.lockable, &t.triggers, &t.Role, &t.RowSecurityForced, &t.PartitionedBy)
	if errors.Is(err, pgx.ErrNoRows) {
		return nil, errNoTable
	}
	if err != nil {
		return nil, fmt.Errorf("read table %s from the catalog: %w", name, err)
	}
	return t, t.readParts(ctx, conn)
}

func (t *table) readParts(ctx context.Context, conn *pgx.Conn) error {
	var err error
	rows, _ := conn.Query(ctx, sql.Columns, t.oid)
	if t.Columns, err = pgx.CollectRows(rows, pgx.RowToStructByPos[target.Column]); err != nil {
		return fmt.Errorf("read the columns from the catalog: %w", err)
	}
	rows, _ = conn.Query(ctx, sql.Indexes, t.oid)
	if t.Indexes, err = pgx.CollectRows(rows, pgx.RowToStructByPos[target.Index]); err != nil {
		return fmt.Errorf("read the unique indexes from the catalog: %w", err)
	}
	rows, _ = conn.Query(ctx, sql.References, t.oid)
	if t.parents, err = pgx.CollectRows(rows, pgx.RowTo[uint32]); err != nil {
		return fmt.Errorf("read the foreign keys from the catalog: %w", err)
	}
	return nil
}
