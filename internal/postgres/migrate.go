package postgres

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"rollcall/internal/postgres/connection"
	"rollcall/internal/postgres/sqlstate"
	"rollcall/internal/target"
	"rollcall/sql"
)

// migrationLock is the advisory lock that lets one replica migrate at a time: "rollcall"
// as eight bytes.
const migrationLock = 0x726f6c6c63616c6c

const minServerVersion = 140000

// Migrate brings the schema rollcall up to this binary's version, in one transaction under
// an advisory lock, and returns the names of the migrations it ran. A schema that is newer
// than the binary is left alone.
func (db *DB) Migrate(ctx context.Context) ([]string, error) {
	var ran []string
	options := pgx.TxOptions{IsoLevel: pgx.ReadCommitted, AccessMode: pgx.ReadWrite} // whatever the role's defaults are
	err := pgx.BeginTxFunc(ctx, db.pool, options, func(tx pgx.Tx) (err error) {
		ran, err = migrateIn(ctx, tx)
		return err
	})
	if err != nil {
		return nil, db.explainMigration(err)
	}
	return ran, nil
}

func migrateIn(ctx context.Context, tx pgx.Tx) ([]string, error) {
	if err := checkServer(ctx, tx); err != nil {
		return nil, err
	}
	// Another replica's migration is waited for, however long it takes.
	const settings = "set local lock_timeout = 0; set local statement_timeout = 0; set local search_path = pg_catalog"
	if _, err := tx.Exec(ctx, settings); err != nil {
		return nil, err
	}
	if _, err := tx.Exec(ctx, "select pg_catalog.pg_advisory_xact_lock($1)", migrationLock); err != nil {
		return nil, err
	}
	version, exists, err := schemaVersion(ctx, tx)
	if err == nil && !exists {
		err = createSchema(ctx, tx)
	}
	if err != nil {
		return nil, err
	}
	var ran []string
	all := sql.Migrations()
	for i := version; i < len(all); i++ {
		if err := runMigration(ctx, tx, i+1, all[i]); err != nil {
			return nil, err
		}
		ran = append(ran, all[i].Name)
	}
	return ran, nil
}

// Migrated returns an error that says what to do unless the schema rollcall is as new as
// this binary, or newer.
func (db *DB) Migrated(ctx context.Context) error {
	pending, err := db.Pending(ctx)
	switch {
	case err != nil:
		return err
	case len(pending) == len(sql.Migrations()):
		return errors.New("there is no schema rollcall in this database yet; run rollcall migrate or serve first")
	case len(pending) > 0:
		return errors.New("the schema rollcall is older than this binary; run rollcall migrate or serve first")
	}
	return nil
}

// Pending returns the migrations that Migrate would run.
func (db *DB) Pending(ctx context.Context) ([]sql.Migration, error) {
	var version int
	err := connection.ReadOnly(ctx, db.pool, func(tx pgx.Tx) (err error) {
		version, _, err = schemaVersion(ctx, tx)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("look for the schema rollcall: %w", db.pool.Explain(err))
	}
	all := sql.Migrations()
	return all[min(version, len(all)):], nil // another binary may be newer
}

// ErrTooOld means that the server can not do what is needed: waiting does not make a server newer.
var ErrTooOld = errors.New("the server is too old")

func checkServer(ctx context.Context, tx pgx.Tx) error {
	var number int
	var name string
	err := tx.QueryRow(ctx, `select pg_catalog.current_setting('server_version_num')::int,
  pg_catalog.current_setting('server_version')`).Scan(&number, &name)
	if err == nil && number < minServerVersion {
		return fmt.Errorf("%w: it is PostgreSQL %s, and Rollcall needs 14 or newer", ErrTooOld, name)
	}
	return err
}

// schemaVersion returns how many migrations have run, and whether there is a place where
// they are counted.
func schemaVersion(ctx context.Context, tx pgx.Tx) (version int, exists bool, err error) {
	err = tx.QueryRow(ctx, "select pg_catalog.to_regclass('rollcall.migrations') is not null").Scan(&exists)
	if err != nil || !exists {
		return 0, false, err
	}
	err = tx.QueryRow(ctx, "select coalesce(pg_catalog.max(version), 0) from rollcall.migrations").Scan(&version)
	return version, true, err
}

// createSchema makes the place where migrations are counted. It asks before it creates:
// "if not exists" wants the right to create in any case.
func createSchema(ctx context.Context, tx pgx.Tx) error {
	for _, statement := range []string{
		"do $$ begin if pg_catalog.to_regnamespace('rollcall') is null then create schema rollcall; end if; end $$",
		`create table rollcall.migrations (version integer primary key, name text not null,
  applied_at timestamptz not null default pg_catalog.now())`,
	} {
		if _, err := tx.Exec(ctx, statement); err != nil {
			return err
		}
	}
	return nil
}

func runMigration(ctx context.Context, tx pgx.Tx, version int, m sql.Migration) error {
	if _, err := tx.Conn().PgConn().Exec(ctx, m.SQL).ReadAll(); err != nil {
		return fmt.Errorf("migration %s: %w", m.Name, err)
	}
	_, err := tx.Exec(ctx, "insert into rollcall.migrations (version, name) values ($1, $2)", version, m.Name)
	return err
}

// explainMigration adds what to do about a missing right.
func (db *DB) explainMigration(err error) error {
	var answer *pgconn.PgError
	var connecting *pgconn.ConnectError
	if errors.As(err, &answer) && !errors.As(err, &connecting) && answer.Code == sqlstate.InsufficientPrivilege {
		to := db.pool.Config().ConnConfig
		if strings.Contains(answer.Message, "rollcall") { // another role has made the schema
			return fmt.Errorf("migrate the schema rollcall: %w; as its owner run: grant usage on schema rollcall to %[2]s; grant select, insert, update, delete on all tables in schema rollcall to %[2]s; grant usage on all sequences in schema rollcall to %[2]s; grant execute on all functions in schema rollcall to %[2]s", err, target.Quote(to.User))
		}
		return fmt.Errorf("migrate the schema rollcall: %w; run `rollcall migrate` once as a role that may create schemas, or: grant create on database %s to %s",
			err, target.Quote(to.Database), target.Quote(to.User))
	}
	return fmt.Errorf("migrate the schema rollcall: %w", db.pool.Explain(err))
}
