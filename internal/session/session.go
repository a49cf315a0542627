// Package session verifies a user's session token, a JWT of Clerk or of Supabase. It hides the form of the tokens
// and how the providers' key sets are fetched and remembered:
//
//	v, err := session.New(session.Config{Source: "clerk", Provider: session.Clerk, Issuer: "https://clerk.example.com"})
//	who, err := v.Verify(ctx, token)  // source, user and active organisation; errors are session.ErrInvalid or event.ErrUnavailable
package session

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"
)

// The providers, as the configuration names them.
const (
	Clerk    = "clerk"
	Supabase = "supabase"
)

// minSecret is the length in bytes of the shortest secret that HS256 may have (RFC 7518,
// 3.2). Supabase takes none below 32 characters either.
const minSecret = 32

// ErrInvalid marks a token that is not believed. What stands around it is for the
// operator's log: closed words and numbers of seconds, nothing that the token chose.
var ErrInvalid = errors.New("session token not valid")

// Config says which tokens of one source are believed.
type Config struct {
	// Source is the configured name of the source.
	Source string
	// Provider is Clerk, which signs with RS256, or Supabase: ES256, RS256, and HS256 when
	// HS256Secret is given.
	Provider string
	// Issuer is an http or https URL; a token's iss must be exactly this.
	Issuer string
	// JWKSURL is where the keys are; empty means Issuer with /.well-known/jwks.json.
	JWKSURL string
	// AuthorizedParties are origins; a token's azp must be exactly one of them. With a list
	// a token without azp is refused: it doesn't say which application it was made for, and
	// the list is there to tell applications apart. Clerk leaves azp out where there is no
	// Origin, as in native apps: those need an empty list, which means that azp isn't looked at.
	AuthorizedParties []string
	// Audience must be among a token's aud; empty means that aud isn't looked at.
	Audience string
	// HS256Secret is a Supabase project's JWT secret, at least 32 bytes, used as it
	// stands; empty means that no token signed with HS256 is believed.
	HS256Secret string
	// Client fetches the keys, within 3 s and without its cookies or redirects to another
	// host; nil means one of the package's own.
	Client *http.Client
	// Now is the clock for the tokens and for the age of the keys; time.Now when nil.
	Now func() time.Time
	// Log is told when keys couldn't be fetched; nil means nowhere.
	Log *slog.Logger
}

// issuer is one source with what its tokens are held against.
type issuer struct {
	Config
	algorithms []jose.SignatureAlgorithm
	keys       *keySet
}

// Verifier verifies the tokens of all sources. It is safe for concurrent use.
type Verifier struct {
	issuers map[string]*issuer // by Issuer
}

// New checks the configurations. It fetches nothing: keys are asked for when the first
// token needs one. Its errors never hold a secret.
func New(configs ...Config) (*Verifier, error) {
	v := &Verifier{issuers: map[string]*issuer{}}
	for _, cfg := range configs {
		i, err := newIssuer(cfg)
		if err != nil {
			return nil, fmt.Errorf("source %s: session: %w", cfg.Source, err)
		}
		if other := v.issuers[cfg.Issuer]; other != nil {
			return nil, fmt.Errorf("source %s: session: issuer: source %s has the same; a token must belong to one source", cfg.Source, other.Source)
		}
		v.issuers[cfg.Issuer] = i
	}
	return v, nil
}

func newIssuer(cfg Config) (*issuer, error) {
	cfg.JWKSURL = cmp.Or(cfg.JWKSURL, strings.TrimRight(cfg.Issuer, "/")+"/.well-known/jwks.json")
	cfg.Client = cmp.Or(cfg.Client, &http.Client{})
	cfg.Log = cmp.Or(cfg.Log, slog.New(slog.DiscardHandler))
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if err := checkConfig(cfg); err != nil {
		return nil, err
	}
	return &issuer{Config: cfg, algorithms: algorithmsOf(cfg), keys: newKeySet(cfg)}, nil
}

func checkConfig(cfg Config) error {
	switch {
	case cfg.Source == "":
		return errors.New("it needs the name of its source")
	case cfg.Provider != Clerk && cfg.Provider != Supabase:
		return fmt.Errorf("its provider must be %s or %s", Clerk, Supabase)
	case !isAddress(cfg.Issuer):
		return errors.New("issuer: it must be an http or https URL")
	case !isAddress(cfg.JWKSURL):
		return errors.New("jwks_url: it must be an http or https URL")
	case cfg.Provider == Clerk && cfg.HS256Secret != "":
		return errors.New("hs256_secret: Clerk signs session tokens with RS256 only; remove it")
	case cfg.HS256Secret != "" && len(cfg.HS256Secret) < minSecret:
		return fmt.Errorf("hs256_secret: it has fewer than %d bytes; copy the project's whole JWT secret", minSecret)
	}
	return nil
}

func isAddress(s string) bool {
	u, err := url.Parse(s)
	return err == nil && (u.Scheme == "http" || u.Scheme == "https") && u.Host != ""
}

// algorithmsOf names what a source's tokens may be signed with, never what a token asks for.
func algorithmsOf(cfg Config) []jose.SignatureAlgorithm {
	switch {
	case cfg.Provider == Clerk:
		return []jose.SignatureAlgorithm{jose.RS256}
	case cfg.HS256Secret == "":
		return []jose.SignatureAlgorithm{jose.ES256, jose.RS256}
	}
	return []jose.SignatureAlgorithm{jose.ES256, jose.RS256, jose.HS256}
}

// Identity is whose a token is.
type Identity struct {
	Source, User string
	// Organization is the id of the organisation that Clerk calls active, "" for none.
	Organization string
}

// Verify returns the source whose issuer the token names, the user's id (sub), and of Clerk's tokens the
// active organisation. An error is ErrInvalid, or event.ErrUnavailable when keys are needed that can't be fetched:
// none are remembered, or the token names one that the remembered ones don't have. Beside an
// error the source is what an unproven token claims, "" where none has its issuer: good for
// counting, and for nothing else.
func (v *Verifier) Verify(ctx context.Context, token string) (Identity, error) {
	t, err := parse(token)
	if err != nil {
		return Identity{}, err
	}
	i := v.issuers[t.issuer]
	if i == nil {
		return Identity{}, fmt.Errorf("%w: no source has this issuer", ErrInvalid)
	}
	who, err := i.verify(ctx, t)
	if err != nil {
		return Identity{Source: i.Source}, fmt.Errorf("source %s: %w", i.Source, err)
	}
	return who, nil
}

func (i *issuer) verify(ctx context.Context, t *token) (Identity, error) {
	key, err := i.key(ctx, t)
	if err != nil {
		return Identity{}, err
	}
	var c claims
	if err := t.claims(key, &c); err != nil {
		return Identity{}, err
	}
	if err := i.check(c); err != nil {
		return Identity{}, err
	}
	who := Identity{Source: i.Source, User: c.Subject}
	if i.Provider == Clerk {
		who.Organization = c.organization()
	}
	return who, nil
}
