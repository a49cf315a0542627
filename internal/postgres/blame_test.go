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
	tests := map[string]string{
		`invalid input syntax for type uuid: "user_2abc"`:              `invalid input syntax for type uuid: "…"`,
		`duplicate key value violates unique constraint "p_email_key"`: `duplicate key value violates unique constraint "p_email_key"`,
		"invalid input syntax for type integer: \"a\"b\"":              `invalid input syntax for type integer: "…"`,
		`value "123456789012345" is out of range for type integer`:     `value "…" is out of range for type integer`,
		`invalid input value for enum "Role": "x"`:                     `invalid input value for enum "Role": "…"`,
		`no seat for ann@example.com (or "bob@example.com")`:           `no seat for …@… (or "…@…")`,
	}
	for message, want := range tests {
		if got := masked(message); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
}
