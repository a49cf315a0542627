package source

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"rollcall/internal/event"
)

// tolerance is how far a signature's time may be from the receipt, both ways: the
// Standard Webhooks value, which both providers document.
const tolerance = 5 * time.Minute

// Verify checks that a request comes from the provider: its signature, or the secret
// header of the database endpoint, against every configured secret. The error wraps
// event.ErrUnverified and says why, without a secret or a signature.
func (s *Source) Verify(r Request) error {
	_, err := s.Prove(r)
	return err
}

// Prove is Verify, and returns the mark of the secret that was used (see Marks).
func (s *Source) Prove(r Request) (mark string, err error) {
	stamp, reason := s.headRefusal(r)
	if reason != "" {
		return "", unverified(reason)
	}
	by := s.sentWith(r.Header)
	if r.Endpoint == Hook {
		by = s.signedBy(stamp, r.Body)
	}
	if by < 0 {
		return "", unverified("the signature matches none of the configured secrets" + compression(r))
	}
	return s.marks[r.Endpoint][by], nil
}

// Marks tell the secrets of an endpoint apart, in the order of the configuration, and say next to nothing of
// them: 16 bits of a hash.
func (s *Source) Marks(d Endpoint) []string { return slices.Clone(s.marks[d]) }

// markOf is the mark of a secret.
func markOf(source, secret string) string {
	sum := sha256.Sum256([]byte("receipt of " + source + "\x00" + secret))
	return hex.EncodeToString(sum[:2])
}

func marksOf(cfg *Config) map[Endpoint][]string {
	marks := map[Endpoint][]string{}
	for _, secret := range cfg.SigningSecrets {
		marks[Hook] = append(marks[Hook], markOf(cfg.Name, secret))
	}
	for _, secret := range cfg.WebhookSecrets {
		marks[Database] = append(marks[Database], markOf(cfg.Name, secret))
	}
	return marks
}

// VerifyHeader is the part of Verify that needs no body: a request that fails it need not
// be read.
func (s *Source) VerifyHeader(r Request) error {
	_, reason := s.headRefusal(r)
	return unverified(reason)
}

// unverified is the error for a reason to refuse a request, nil for none.
func unverified(reason string) error {
	if reason == "" {
		return nil
	}
	return fmt.Errorf("%w: %s", event.ErrUnverified, reason)
}

func (s *Source) headRefusal(r Request) (stamp, string) {
	switch {
	case !s.Open(r.Endpoint):
		return stamp{}, "the " + r.Endpoint.String() + " endpoint has no secret and is closed"
	case r.Endpoint == Database:
		return stamp{}, s.headerRefusal(r.Header)
	}
	mark, reason := stampOf(r.Header, s.family())
	if reason == "" {
		reason = ageRefusal(mark.timestamp, s.at(r.ReceivedAt))
	}
	return mark, reason
}

// signedBy asks the library once per secret, and returns which one it is, or -1. It is handed exactly one value per
// header: left to itself it reads the first of several signature lines only.
func (s *Source) signedBy(mark stamp, body []byte) int {
	header := http.Header{
		"Svix-Id":        {mark.id},
		"Svix-Timestamp": {mark.timestamp},
		"Svix-Signature": {mark.signatures},
	}
	for i, key := range s.keys {
		// The time is checked apart, against the receipt: the library's clock can't be set.
		if key.VerifyIgnoringTimestamp(body, header) == nil {
			return i
		}
	}
	return -1
}

// millisecondAge is how far in the future, in seconds, a timestamp lies that counts milliseconds:
// a thousand years.
const millisecondAge = 1000 * 365 * 24 * 3600

// compression says that a body came compressed, which neither provider sends: a proxy between
// them and here does it, before or after the body was signed. Empty for a plain body.
func compression(r Request) string {
	encoding := strings.ToLower(first(r.Header["Content-Encoding"]))
	switch {
	case bytes.HasPrefix(r.Body, []byte{0x1f, 0x8b}):
		encoding = "gzip"
	case encoding == "gzip" || encoding == "deflate" || encoding == "br" || encoding == "zstd":
	default:
		return ""
	}
	return "; the body is compressed (" + encoding + "): " +
		"send it as it was signed, plain JSON, and turn compression off in between"
}

// ageRefusal judges the time of a signature, unix seconds in the only spelling the
// providers use: the library signs the parsed number, so "+5" would pass for "5".
func ageRefusal(timestamp string, received time.Time) string {
	sent, err := strconv.ParseInt(timestamp, 10, 64)
	if err != nil || strconv.FormatInt(sent, 10) != timestamp || sent < 0 {
		return "the timestamp is not a number of seconds"
	}
	limit := int64(tolerance / time.Second)
	switch age := received.Unix() - sent; {
	case -age > millisecondAge:
		return "the timestamp seems to be in milliseconds, not in seconds"
	case age > limit:
		return fmt.Sprintf("the signature is too old by %d s", age-limit)
	case age < -limit:
		return fmt.Sprintf("the signature is too new by %d s, check the clocks", -age-limit)
	}
	return ""
}

// stamp is what the signature headers hold.
type stamp struct {
	id, timestamp, signatures string
}

// The header families. Svix writes its own name, Standard Webhooks the neutral one.
var (
	svixFamily    = family{"Svix-Id", "Svix-Timestamp", "Svix-Signature"}
	webhookFamily = family{"Webhook-Id", "Webhook-Timestamp", "Webhook-Signature"}
)

type family struct {
	id, timestamp, signature string
}

// family is the one the provider itself uses.
func (s *Source) family() family {
	if s.provider == Clerk {
		return svixFamily
	}
	return webhookFamily
}

// stampOf reads the first complete family of signature headers; usual is named in the
// reason when none is complete.
func stampOf(h http.Header, usual family) (stamp, string) {
	for _, f := range [...]family{svixFamily, webhookFamily} {
		mark := stamp{first(h[f.id]), first(h[f.timestamp]), joinSignatures(h[f.signature])}
		switch {
		case mark.id == "" || mark.timestamp == "" || mark.signatures == "":
			continue
		case !same(h[f.id]):
			return stamp{}, "the header " + f.id + " occurs twice with different values"
		case !same(h[f.timestamp]):
			return stamp{}, "the header " + f.timestamp + " occurs twice with different values"
		}
		return mark, ""
	}
	return stamp{}, incomplete(h, usual)
}

// incomplete says what keeps a family from being complete.
func incomplete(h http.Header, f family) string {
	var names []string
	for _, name := range []string{f.id, f.timestamp, f.signature} {
		if first(h[name]) == "" {
			names = append(names, name)
		}
	}
	if len(names) == 0 {
		return "the header " + f.signature + " holds no v1 signature"
	}
	return "missing or empty headers: " + strings.Join(names, ", ")
}

func first(values []string) string {
	if len(values) == 0 {
		return ""
	}
	return values[0]
}

func same(values []string) bool {
	return !slices.ContainsFunc(values, func(value string) bool { return value != values[0] })
}

// joinSignatures brings the signatures of all header lines into the form of the
// standard, "v1,<base64> v1,<base64>". Supabase joins by comma and space, and a proxy
// that merges lines by a comma alone. Versions other than v1 are left out.
func joinSignatures(lines []string) string {
	if len(lines) == 1 && strings.HasPrefix(lines[0], "v1,") && !strings.ContainsAny(lines[0][3:], ", ") {
		return lines[0]
	}
	var joined []string
	for _, line := range lines {
		parts := strings.FieldsFunc(line, func(r rune) bool { return r == ' ' || r == ',' })
		for i := 1; i < len(parts); i++ {
			if parts[i-1] == "v1" {
				joined = append(joined, "v1,"+parts[i])
			}
		}
	}
	return strings.Join(joined, " ")
}

// eventID is the id that was signed. Without a complete family nothing was verified
// (a replay): then any id header will do.
func (s *Source) eventID(h http.Header) string {
	mark, _ := stampOf(h, s.family())
	return boundedID(cmp.Or(mark.id, first(h[svixFamily.id]), first(h[webhookFamily.id])))
}

// headerRefusal compares the whole header value with every secret. Both sides are
// hashed first, so that the time tells nothing, not even a length.
func (s *Source) headerRefusal(h http.Header) string {
	values := h[s.header]
	switch {
	case first(values) == "":
		return "the header " + s.header + " is missing or empty"
	case !same(values):
		return "the header " + s.header + " occurs twice with different values"
	}
	if s.sentWith(h) < 0 {
		return "the header " + s.header + " matches none of the configured secrets"
	}
	return ""
}

// sentWith is the secret that the header carries, or -1. All are compared, and the time tells nothing of them.
func (s *Source) sentWith(h http.Header) int {
	got, match := s.fingerprint(first(h[s.header])), -1
	for i, secret := range s.secrets {
		want := s.fingerprint(secret)
		match = subtle.ConstantTimeSelect(subtle.ConstantTimeCompare(got[:], want[:]), i, match)
	}
	return match
}

func (s *Source) fingerprint(value string) [sha256.Size]byte {
	const scheme = "Bearer "
	if s.header == "Authorization" && len(value) >= len(scheme) && strings.EqualFold(value[:len(scheme)], scheme) {
		value = value[len(scheme):]
	}
	return sha256.Sum256([]byte(value))
}
