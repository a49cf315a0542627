package session

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4/jwt"
)

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
		return fmt.Errorf("%w: its audience (aud) is another", ErrInvalid)
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

// checkMoments compares in whole seconds; at exp plus the leeway a token is expired.
func (c claims) checkMoments(at time.Time) error {
	for _, moment := range []*int64{c.Expiry, c.NotBefore, c.IssuedAt} {
		if moment != nil && (*moment < 0 || *moment > lastMoment) {
			return fmt.Errorf("%w: a moment in it is none", ErrInvalid)
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
