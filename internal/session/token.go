package session

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/json"
	"github.com/go-jose/go-jose/v4/jwt"
)

// maxToken bounds a token, in bytes. Clerk's and Supabase's have one or two thousand.
const maxToken = 16 << 10

// understood is every algorithm that a source may allow; the source decides later.
var understood = []jose.SignatureAlgorithm{jose.RS256, jose.ES256, jose.HS256}

// refusedHeaders would let a token bring or name its own key (jku, jwk, x5u, x5c), or change
// what is signed and how it is read (crit, b64, cty, zip). Neither provider sends any.
var refusedHeaders = []string{"jku", "jwk", "x5u", "x5c", "crit", "b64", "cty", "zip"}

// token is a token of the right form. Nothing of it is proven yet.
type token struct {
	jwt       *jwt.JSONWebToken
	algorithm jose.SignatureAlgorithm
	kid       string
	// issuer chooses among configured sources; it is never an address.
	issuer string
}

// parse reads the one form that is accepted: compact, signed, three parts.
func parse(raw string) (*token, error) {
	header, err := checkForm(raw)
	if err != nil {
		return nil, err
	}
	if err := checkHeader(header); err != nil {
		return nil, err
	}
	parsed, err := jwt.ParseSigned(raw, understood)
	if wrong := new(jose.ErrUnexpectedSignatureAlgorithm); errors.As(err, &wrong) {
		return nil, errAlgorithm
	}
	var named struct {
		Issuer string `json:"iss"`
	}
	if err != nil || parsed.UnsafeClaimsWithoutVerification(&named) != nil {
		return nil, fmt.Errorf("%w: its header or its claims can't be read", ErrInvalid)
	}
	h := parsed.Headers[0]
	return &token{jwt: parsed, algorithm: jose.SignatureAlgorithm(h.Algorithm), kid: h.KeyID, issuer: named.Issuer}, nil
}

var errAlgorithm = fmt.Errorf("%w: signed with an algorithm that is not allowed", ErrInvalid)

// checkForm returns the decoded header. Parts must be canonical base64url, so that no two
// texts are the same token.
func checkForm(raw string) (header []byte, err error) {
	if len(raw) > maxToken {
		return nil, fmt.Errorf("%w: longer than %d bytes", ErrInvalid, maxToken)
	}
	parts := strings.SplitN(raw, ".", 4)
	if len(parts) != 3 || slices.Contains(parts, "") {
		return nil, fmt.Errorf("%w: not three parts between dots", ErrInvalid)
	}
	for n, part := range parts {
		decoded, err := base64.RawURLEncoding.Strict().DecodeString(part)
		// The decoder passes over line breaks.
		if err != nil || strings.ContainsAny(part, "\r\n") {
			return nil, fmt.Errorf("%w: not in base64url", ErrInvalid)
		}
		if n == 0 {
			header = decoded
		}
	}
	return header, nil
}

// checkHeader looks before the library does, which would parse keys from the token and
// certificates. A typ other than JWT is another kind of token of the same issuer, such as
// an OAuth access token (at+jwt).
func checkHeader(encoded []byte) error {
	var header map[string]any
	if json.Unmarshal(encoded, &header) != nil || header == nil {
		return fmt.Errorf("%w: its header can't be read", ErrInvalid)
	}
	for _, name := range refusedHeaders {
		if _, ok := header[name]; ok {
			return fmt.Errorf("%w: its header has %s, which no provider sends", ErrInvalid, name)
		}
	}
	typ, ok := header["typ"]
	if name, _ := typ.(string); ok && !strings.EqualFold(name, "JWT") {
		return fmt.Errorf("%w: its typ is not JWT", ErrInvalid)
	}
	return nil
}

// key finds what the signature must be verified with. Which kind of key that is follows
// from the source and the algorithm alone, so a public key is never taken for a secret.
func (i *issuer) key(ctx context.Context, t *token) (any, error) {
	switch {
	case !slices.Contains(i.algorithms, t.algorithm):
		return nil, errAlgorithm
	case t.algorithm == jose.HS256:
		return []byte(i.HS256Secret), nil
	case t.kid == "":
		// Both providers name the key. To guess it would make what is believed depend on how
		// many keys happen to be published.
		return nil, fmt.Errorf("%w: it doesn't name its key (kid)", ErrInvalid)
	}
	return i.keys.key(ctx, keyName{id: t.kid, algorithm: t.algorithm})
}

// claims verifies the signature and reads the claims.
func (t *token) claims(key any, to *claims) error {
	switch err := t.jwt.Claims(key, to); {
	case errors.Is(err, jose.ErrCryptoFailure):
		return fmt.Errorf("%w: its signature is wrong", ErrInvalid)
	case err != nil:
		return fmt.Errorf("%w: its claims are not of their types", ErrInvalid)
	}
	return nil
}

const (
	// leeway is how far a provider's clock may be off. Clerk's tokens live for 60 s.
	leeway = 5 * time.Second
	// maxID is the length in bytes of the longest id of a user.
	maxID = 255
	// lastMoment is the end of the year 9999 in Unix seconds: above it, sums overflow.
	lastMoment = 253402300799
)

// claims are those that are looked at. Moments are whole Unix seconds, as both providers
// send them; what a source doesn't look at may be of any type, for applications add claims
// of their own.
type claims struct {
	Subject   string       `json:"sub"`
	Audience  jwt.Audience `json:"aud"`
	Party     any          `json:"azp"`
	Status    any          `json:"sts"`
	Active    any          `json:"o"`      // Clerk's, version 2: the active organisation
	ActiveID  any          `json:"org_id"` // version 1
	Expiry    *int64       `json:"exp"`
	NotBefore *int64       `json:"nbf"`
	IssuedAt  *int64       `json:"iat"`
}

// check holds the claims of a verified token against the source's configuration; the
// issuer was compared when the source was chosen.
func (i *issuer) check(c claims) error {
	if err := c.checkMoments(i.Now()); err != nil {
		return err
	}
	party, _ := c.Party.(string)
	switch {
	case i.Audience != "" && !c.Audience.Contains(i.Audience):
		return fmt.Errorf("%w: its audience (aud) is not the configured one", ErrInvalid)
	case len(i.AuthorizedParties) > 0 && c.Party == nil:
		return fmt.Errorf("%w: it has no authorized party (azp), and a list is configured", ErrInvalid)
	case len(i.AuthorizedParties) > 0 && !slices.Contains(i.AuthorizedParties, party):
		return fmt.Errorf("%w: its authorized party (azp) is not in the list", ErrInvalid)
	case i.Provider == Clerk && c.Status != nil && c.Status != "active":
		// A pending session has tasks left, such as a password to be reset. Clerk's own
		// libraries take its user for signed out, too.
		return fmt.Errorf("%w: its session (sts) is not active", ErrInvalid)
	case !isID(c.Subject):
		return fmt.Errorf("%w: its subject (sub) is no user's id", ErrInvalid)
	}
	return nil
}

// organization is the id of Clerk's active organisation. A claim of another form names none: an application may
// have added one of its own by that name, and no right follows from it.
func (c claims) organization() string {
	active, _ := c.Active.(map[string]any)
	for _, claim := range []any{active["id"], c.ActiveID} {
		if id, _ := claim.(string); isID(id) {
			return id
		}
	}
	return ""
}

// checkMoments compares in whole seconds; at exp plus the leeway a token is expired.
func (c claims) checkMoments(at time.Time) error {
	for _, moment := range []*int64{c.Expiry, c.NotBefore, c.IssuedAt} {
		if moment != nil && (*moment < 0 || *moment > lastMoment) {
			return fmt.Errorf("%w: one of its times can't be read", ErrInvalid)
		}
	}
	now, slack := at.Unix(), int64(leeway/time.Second)
	switch {
	case c.Expiry == nil:
		return fmt.Errorf("%w: it never expires (exp)", ErrInvalid)
	case now >= *c.Expiry+slack:
		return fmt.Errorf("%w: expired %d s ago", ErrInvalid, now-*c.Expiry)
	case c.NotBefore != nil && now+slack < *c.NotBefore:
		return fmt.Errorf("%w: not valid for another %d s", ErrInvalid, *c.NotBefore-now)
	case c.IssuedAt != nil && now+slack < *c.IssuedAt:
		return fmt.Errorf("%w: issued %d s in the future", ErrInvalid, *c.IssuedAt-now)
	}
	return nil
}

// isID refuses U+FFFD as well: the JSON decoder has put it where there was no valid UTF-8,
// so that two ids could have become one.
func isID(s string) bool {
	return s != "" && len(s) <= maxID && !strings.ContainsAny(s, "\x00\uFFFD")
}
