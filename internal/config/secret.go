package config

import (
	"fmt"
	"io"
	"log/slog"
)

const redacted = "[secret]"

// Secret is a text that no way of printing shows. The zero value means that none is
// configured.
type Secret struct {
	// value is a pointer because fmt follows none below the first: with a verb that
	// doesn't fit, such as %s for a struct, it asks no method and prints the fields.
	value *string
}

// NewSecret hides a text; an empty one is no secret.
func NewSecret(value string) Secret {
	if value == "" {
		return Secret{}
	}
	return Secret{&value}
}

// Reveal is the text itself, "" when none is configured. Do not print it.
func (s Secret) Reveal() string {
	if s.value == nil {
		return ""
	}
	return *s.value
}

// IsZero reports whether no secret is configured.
func (s Secret) IsZero() bool { return s.value == nil }

// Equal compares the texts, for tests; a secret from a request must be compared in constant time.
func (s Secret) Equal(other Secret) bool { return s.Reveal() == other.Reveal() }

// String has no part of the secret.
func (s Secret) String() string { return redacted }

// Format prints no part of the secret, for every verb.
func (s Secret) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, redacted) }

// MarshalText has no part of the secret; the encoders of JSON and YAML use it.
func (s Secret) MarshalText() ([]byte, error) { return []byte(redacted), nil }

// LogValue has no part of the secret.
func (s Secret) LogValue() slog.Value { return slog.StringValue(redacted) }
