//go:build unix

package demo

import (
	"context"

	"rollcall/internal/pgtest/pgserver"
)

// startDatabase starts a private PostgreSQL.
func startDatabase(ctx context.Context) (*database, error) {
	server, err := pgserver.Start(ctx, pgserver.Options{})
	if err != nil {
		return nil, err
	}
	return &database{url: server.URL("postgres"), dir: server.Dir(), close: server.Close}, nil
}
