package postgres

import (
	"errors"
	"fmt"
	"io"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"
)

func TestBlame(t *testing.T) {
	t.Parallel()
	tests := map[string]blame{
		"40P01": blameNobody, "40001": blameNobody, "57P01": blameNobody, "08006": blameNobody, "26000": blameNobody, "25P02": blameNobody,
		"25006": blameServer, "53100": blameServer, "53300": blameServer, "58030": blameServer,
		"55P03": blameWait, "57014": blameWait,
		"42P01": blameTarget, "42703": blameTarget, "42501": blameTarget, "0A000": blameTarget, "XX000": blameTarget, "55000": blameTarget,
		"23505": blameRow, "23503": blameRow, "22001": blameRow, "21000": blameRow, "P0001": blameRow, "54000": blameRow, "MY001": blameRow,
	}
	for state, want := range tests {
		if got := blameOf(fmt.Errorf("apply: %w", &pgconn.PgError{Code: state})); got != want {
			t.Errorf("%s: blame %d, want %d", state, got, want)
		}
	}
	for _, err := range []error{io.ErrUnexpectedEOF, &pgconn.ConnectError{}, errors.New("conn closed")} {
		if got := blameOf(err); got != blameNobody {
			t.Errorf("%v: blame %d, want nobody", err, got)
		}
	}
}

func TestMasked(t *testing.T) {
	t.Parallel()
	const raised = "a trigger or a function of the application raised an error; the server's log has its words"
	tests := []struct{ state, message, want string }{
		{"22P02", `invalid input syntax for type uuid: "user_2abc"`, `invalid input syntax for type uuid: "…"`},
		{"22P02", "invalid input syntax for type integer: \"a\"b\"", `invalid input syntax for type integer: "…"`},
		{"22003", `value "123456789012345" is out of range for type integer`, `value "…" is out of range for type integer`},
		{"42P01", `relation "Ann Smith" does not exist`, `relation "…" does not exist`},
		{"22001", "value too long for type character varying(20)", "value too long for type character varying(20)"},
		{"23505", `duplicate key value violates unique constraint "p_email_key"`, `duplicate key value violates unique constraint "p_email_key"`},
		{"P0001", "no seat for Ann Smith", raised},
		{"P0004", "no seat for Ann Smith", raised},
		{"MY001", "no seat for Ann Smith", raised},
		{"40001", "no seat for ann@example.com", "no seat for …@…"},
	}
	for _, tt := range tests {
		if got := masked(tt.state, tt.message); got != tt.want {
			t.Errorf("%s: got %s, want %s", tt.state, got, tt.want)
		}
	}
}
