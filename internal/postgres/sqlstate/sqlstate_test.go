package sqlstate

import (
	"errors"
	"fmt"
	"io"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"
)

func TestClassOf(t *testing.T) {
	t.Parallel()
	tests := map[string]Class{
		"40P01": Retry, "40001": Retry, "57P01": Retry, "08006": Retry, "26000": Retry, "25P02": Retry,
		"25006": Server, "53100": Server, "53300": Server, "58030": Server,
		"55P03": Lock, "57014": Lock,
		"42P01": Target, "42703": Target, "42501": Target, "0A000": Target, "XX000": Target, "55000": Target,
		"23505": Row, "23503": Row, "22001": Row, "21000": Row, "P0001": Row, "54000": Row, "MY001": Row,
	}
	for state, want := range tests {
		if got := ClassOf(fmt.Errorf("apply: %w", &pgconn.PgError{Code: state})); got != want {
			t.Errorf("%s: class %d, want %d", state, got, want)
		}
	}
	for _, err := range []error{io.ErrUnexpectedEOF, &pgconn.ConnectError{}, errors.New("conn closed")} {
		if got := ClassOf(err); got != Retry {
			t.Errorf("%v: class %d, want Retry", err, got)
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
		if got := Masked(tt.state, tt.message); got != tt.want {
			t.Errorf("%s: got %s, want %s", tt.state, got, tt.want)
		}
	}
}
