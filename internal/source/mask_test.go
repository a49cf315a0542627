package source

import (
	"encoding/json"
	"strings"
	"testing"

	"rollcall/internal/must"
)

func TestMaskBody(t *testing.T) {
	t.Parallel()
	must.Table(t, func(body string) string { return string(MaskBody([]byte(body))) }, map[string]string{
		`{"type":"user.created","data":{"id":"user_1","email_addresses":[{"id":"idn_1","email_address":"ann@example.com"}],"n":1,"gone":null}}`: `{"type":"user.created","data":{"id":"user_1","email_addresses":[{"id":"idn_1","email_address":"a…@e….com"}],"n":1,"gone":null}}`,
		`{"data":{"unsafe_metadata":{"phone":123},"public_metadata":null,"first_name":"Ann","created_at":"2026-01-01T00:00:00Z"}}`:              `{"data":{"unsafe_metadata":"13 bytes","public_metadata":null,"first_name":"A…","created_at":"2026-01-01T00:00:00Z"}}`,
		`{"metadata":{"name":"after-user-created","ip_address":"127.0.0.1"},"user":{"name":"Ann"},"aliases":["Ann","Bo"]}`:                      `{"metadata":{"name":"after-user-created","ip_address":"1…"},"user":{"name":"A…"},"aliases":["A…","B…"]}`,
		` [ ] `:       `[]`,
		`{ }`:         `{}`,
		`Ann Example`: `"11 bytes that are no JSON, or nested too deep"`,
		strings.Repeat("[", 300) + strings.Repeat("]", 300): `"600 bytes that are no JSON, or nested too deep"`,
	})
}

// A masked body is JSON with the same members, and has nothing of the addresses and names in the samples.
func TestMaskedSamples(t *testing.T) {
	t.Parallel()
	for name, body := range files(t, "clerk") {
		masked := MaskBody([]byte(body))
		must.True(t, json.Valid(masked), "%s: no JSON: %s", name, masked)
		must.Lack(t, string(masked), "@example.com", "Example", "+1555")
	}
}
