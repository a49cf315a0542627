//go:build bench

package main

import (
	"context"
	_ "embed"
	"fmt"
	"log/slog"
	"maps"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"rollcall/bench/machine"
	"rollcall/internal/app"
	"rollcall/internal/pgtest/pgserver"
	"rollcall/internal/postgres"
	"rollcall/internal/target"
)

var (
	//go:embed schema.sql
	schema string
	//go:embed rollcall.yaml
	configuration []byte
)

// settings of the server besides PostgreSQL's defaults. No checkpoint and no autovacuum falls
// into a measurement by chance: both happen between them, on purpose.
var settings = map[string]string{
	"fsync": "on", "synchronous_commit": "on", "full_page_writes": "on",
	"shared_buffers": "512MB", "max_wal_size": "8GB", "min_wal_size": "2GB", "checkpoint_timeout": "1h", "autovacuum": "off",
	"max_connections": "120",
}

// tables are everything that a measurement fills.
const tables = "rollcall.notifications, rollcall.transitions, rollcall.events, rollcall.users, rollcall.parked, public.profiles, deadstock.users, rival.events, rival.users"

// database is one database of the private server.
type database struct {
	url   string
	conn  *pgx.Conn
	keeps bool // its users stay
}

// startServer starts one that has some settings changed.
func startServer(ctx context.Context, change map[string]string) (*pgserver.Server, error) {
	all := maps.Clone(settings)
	maps.Copy(all, change)
	server, err := pgserver.Start(ctx, pgserver.Options{Durable: true, Settings: all})
	if err == nil {
		return server, nil
	}
	err = fmt.Errorf("start the server: %w", err)
	if extension := change["shared_preload_libraries"]; extension != "" {
		err = fmt.Errorf("%w (the profile needs the extension %s)", err, extension)
	}
	return nil, err
}

// durable refuses a server whose commits would not survive a crash of the machine.
func durable(ctx context.Context, conn *pgx.Conn) error {
	for _, name := range []string{"fsync", "synchronous_commit", "full_page_writes"} {
		value, err := machine.Setting(ctx, conn, name)
		if err != nil {
			return err
		}
		if value != "on" {
			return fmt.Errorf("the server has %s = %s, want on: its figures would mean nothing", name, value)
		}
	}
	return nil
}

// newDatabase makes a database with Rollcall's schema and the applications' tables.
func newDatabase(ctx context.Context, server *pgserver.Server, name string) (*database, error) {
	admin, err := pgx.Connect(ctx, server.URL("postgres"))
	if err != nil {
		return nil, fmt.Errorf("make a database: %w", err)
	}
	defer admin.Close(ctx)
	if err := durable(ctx, admin); err != nil {
		return nil, err
	}
	if _, err := admin.Exec(ctx, "create database "+name); err != nil {
		return nil, fmt.Errorf("make a database: %w", err)
	}
	return fill(ctx, server.URL(name))
}

// fill makes everything in an empty database.
func fill(ctx context.Context, url string) (*database, error) {
	d := &database{url: url}
	db, err := postgres.Open(postgres.Config{URL: d.url, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		return nil, err
	}
	defer db.Close()
	if _, err := db.Migrate(ctx); err != nil {
		return nil, err
	}
	if d.conn, err = pgx.Connect(ctx, d.url); err != nil {
		return nil, fmt.Errorf("connect to the database: %w", err)
	}
	return d, d.exec(ctx, schema)
}

// exec runs each text as a transaction.
func (d *database) exec(ctx context.Context, sqls ...string) error {
	for _, sql := range sqls {
		if _, err := d.conn.PgConn().Exec(ctx, sql).ReadAll(); err != nil {
			return fmt.Errorf("run %.60q: %w", sql, err)
		}
	}
	return nil
}

func (d *database) count(ctx context.Context, sql string) (n int, err error) {
	if err := d.conn.QueryRow(ctx, sql).Scan(&n); err != nil {
		return 0, fmt.Errorf("run %.60q: %w", sql, err)
	}
	return n, nil
}

// reset gives the next measurement empty tables, unless they keep their users, and a server with nothing
// left to do.
func (d *database) reset(ctx context.Context) error {
	if d.keeps {
		return d.exec(ctx, "checkpoint")
	}
	if err := d.exec(ctx, "truncate "+tables); err != nil {
		return err
	}
	return d.settle(ctx)
}

// settle ends the background work that earlier measurements have caused.
func (d *database) settle(ctx context.Context) error {
	return d.exec(ctx, "vacuum (analyze) "+tables, "checkpoint")
}

// holds checks that both tables hold as many users as were acknowledged, at least: an answer
// to a request that was cut off at the end may have been missed.
func (d *database) holds(ctx context.Context, acknowledged int) error {
	for _, table := range []string{"public.profiles", "deadstock.users"} {
		n, err := d.count(ctx, "select count(*) from "+table+" where email is not null")
		if err != nil {
			return err
		}
		if n < acknowledged {
			return fmt.Errorf("%s holds %d users, but %d were acknowledged", table, n, acknowledged)
		}
	}
	return nil
}

// openRollcall puts the targets of the configuration into service in this process.
func openRollcall(ctx context.Context, yaml []byte, url string, m *mill) (*postgres.DB, error) {
	environment := map[string]string{
		"DATABASE_URL": url, "CLERK_WEBHOOK_SIGNING_SECRET": m.secret, "LISTEN": "127.0.0.1:0", "ADMIN_LISTEN": "127.0.0.1:0",
	}
	setup, err := app.Read("rollcall.yaml", yaml, func(name string) string { return environment[name] })
	if err != nil {
		return nil, err
	}
	db, err := postgres.Open(postgres.Config{URL: url, Targets: setup.Targets, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		return nil, err
	}
	findings, err := db.Targets().Check(ctx)
	if findings = target.Faults(findings); err == nil && len(findings) > 0 {
		err = fmt.Errorf("target %s: %s", findings[0].Target, findings[0].What)
	}
	if err != nil {
		db.Close()
		return nil, err
	}
	return db, nil
}

// pooled opens connections for the bare upsert.
func pooled(ctx context.Context, url string, connections int32) (*pgxpool.Pool, error) {
	cfg, err := pgxpool.ParseConfig(url)
	if err != nil {
		return nil, err
	}
	cfg.MaxConns = connections
	return pgxpool.NewWithConfig(ctx, cfg)
}
