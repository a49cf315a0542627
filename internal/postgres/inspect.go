package postgres

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5/pgconn"
)

// Rows is the result of a query as PostgreSQL prints it; nil cells are null.
type Rows struct {
	Columns []string
	Cells   [][]*string
}

// Inspect runs SQL, of any number of statements, on a connection of its own, and returns
// the rows of the last. It is for looking at an application's tables, and for playing the application, as the demo does.
func Inspect(ctx context.Context, url, sql string) (*Rows, error) {
	conn, err := pgconn.Connect(ctx, url)
	if err != nil {
		return nil, fmt.Errorf("inspect: %w", err)
	}
	results, err := conn.Exec(ctx, sql).ReadAll()
	if err = errors.Join(err, conn.Close(ctx)); err != nil {
		return nil, fmt.Errorf("inspect: %w", err)
	}
	rows := &Rows{}
	if len(results) == 0 {
		return rows, nil
	}
	last := results[len(results)-1]
	for _, f := range last.FieldDescriptions {
		rows.Columns = append(rows.Columns, f.Name)
	}
	for _, row := range last.Rows {
		cells := make([]*string, len(row))
		for i, cell := range row {
			if cell != nil {
				cells[i] = new(string(cell))
			}
		}
		rows.Cells = append(rows.Cells, cells)
	}
	return rows, nil
}
