package session

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rsa"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"sync"
	"time"

	"github.com/go-jose/go-jose/v4"
	"golang.org/x/sync/singleflight"

	"rollcall/internal/event"
)

const (
	// keysLife is the age at which a set is fetched anew: the longest that a key which was
	// withdrawn is believed, unless its provider can't be reached.
	keysLife = time.Hour
	// fetchFloor is the pause between fetches, so that tokens with invented key ids can't
	// make us hammer a provider.
	fetchFloor = 30 * time.Second
	// coldFloor is the pause while there is no set at all and no token can be verified.
	coldFloor = 5 * time.Second
	// outageMemory is for how long after a failed fetch no token with a known key waits for
	// another. Later it does: a key that was withdrawn is not believed because of an outage
	// that is long over.
	outageMemory = 2 * fetchFloor
	// fetchTimeout is below the 4 s that a request waits by default.
	fetchTimeout = 3 * time.Second
	// maxKeySet bounds the document, in bytes; that of a provider has a few thousand.
	maxKeySet = 1 << 20
	// minRSA is the length in bits of the shortest RSA key for RS256 (RFC 7518, 3.3).
	minRSA = 2048
)

// keyName is how a token names a key. The algorithm belongs to it, so that a key is never
// used with an algorithm that is not its own.
type keyName struct {
	id        string
	algorithm jose.SignatureAlgorithm
}

// keySet remembers the last good key set of one source. A set that can't be refreshed
// stays good: an outage of the provider must not sign all users out.
type keySet struct {
	source, url string
	client      *http.Client
	now         func() time.Time
	log         *slog.Logger
	fetches     singleflight.Group

	mu      sync.Mutex
	keys    map[keyName]crypto.PublicKey // of the last good set, nil before the first one
	fetched time.Time                    // when that was
	tried   time.Time                    // when the last fetch ended, good or not
	failed  bool                         // whether it failed
}

func newKeySet(cfg Config) *keySet {
	client := *cfg.Client
	client.Jar, client.CheckRedirect = nil, sameHost
	return &keySet{source: cfg.Source, url: cfg.JWKSURL, client: &client, now: cfg.Now, log: cfg.Log}
}

// sameHost follows redirects within the provider's host only.
func sameHost(r *http.Request, via []*http.Request) error {
	first := via[0].URL
	if len(via) > 3 || r.URL.Host != first.Host || r.URL.Scheme != first.Scheme {
		return errors.New("redirected to another host, or too often; set jwks_url to where the keys are")
	}
	return nil
}

// key returns the public key of that name, fetching the set when it is needed and allowed.
// Errors are ErrInvalid when there is no such key, event.ErrUnavailable when it can't be
// known.
func (s *keySet) key(ctx context.Context, name keyName) (crypto.PublicKey, error) {
	if s.due(name) {
		s.refresh(ctx, name)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.keys[name] != nil:
		return s.keys[name], nil
	case ctx.Err() != nil:
		return nil, fmt.Errorf("%w: waiting for its keys: %w", event.ErrUnavailable, ctx.Err())
	case s.failed:
		return nil, &event.LaterError{Wait: s.pause(), Reason: "its keys could not be fetched; the log says why"}
	}
	return nil, fmt.Errorf("%w: signed with a key that its source does not publish", ErrInvalid)
}

// due reports whether the set should be fetched now: it is old or lacks the key, and the
// last fetch is long enough ago.
func (s *keySet) due(name keyName) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	wanted := s.keys[name] == nil || s.now().Sub(s.fetched) >= keysLife
	return wanted && s.pause() <= 0
}

// pause is how long there may be no further fetch; 0 or less when there may be one. The set must
// be locked.
func (s *keySet) pause() time.Duration {
	floor := fetchFloor
	if s.keys == nil {
		floor = coldFloor
	}
	return floor - s.now().Sub(s.tried)
}

// refresh waits until a fetch that was under way or is begun here has ended, or the context
// has; it does not wait again for a provider who was away a moment ago, unless the key is
// needed. All requests share the fetch: it doesn't end with the request that began it.
func (s *keySet) refresh(ctx context.Context, name keyName) {
	away := s.away(name)
	done := s.fetches.DoChan("", func() (any, error) {
		// Another fetch may have ended since this one looked.
		if s.due(name) {
			s.keep(s.fetch(context.WithoutCancel(ctx)))
		}
		return nil, nil
	})
	if away {
		return
	}
	select {
	case <-done:
	case <-ctx.Done():
	}
}

// away reports whether a fetch failed just now, and the set has the key.
func (s *keySet) away(name keyName) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.failed && s.keys[name] != nil && s.now().Sub(s.tried) < outageMemory
}

// keep remembers a good set, and of a failed fetch only that it was tried.
func (s *keySet) keep(keys map[keyName]crypto.PublicKey, err error) {
	s.mu.Lock()
	s.tried, s.failed = s.now(), err != nil
	if err == nil {
		s.keys, s.fetched = keys, s.tried
	}
	remembered := len(s.keys)
	s.mu.Unlock() // no request waits for the log
	if err != nil {
		s.log.Warn("session keys not fetched", "source", s.source, "keys_remembered", remembered, "error", err.Error())
	}
}

// fetch asks once. A panic becomes its error: no caller recovers it, so it would end the process.
func (s *keySet) fetch(ctx context.Context) (keys map[keyName]crypto.PublicKey, err error) {
	defer func() {
		if value := recover(); value != nil {
			stopped := event.Panicked(value)
			err = fmt.Errorf("reading the keys: %w\n%s", stopped, stopped.Stack)
		}
	}()
	ctx, cancel := context.WithTimeout(ctx, fetchTimeout)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, s.url, nil)
	if err != nil {
		return nil, fmt.Errorf("asking for the keys: %w", err)
	}
	request.Header.Set("Accept", "application/json")
	response, err := s.client.Do(request)
	if err != nil {
		return nil, fmt.Errorf("asking for the keys: %w", err)
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("asking for the keys: the answer is %d; is jwks_url right?", response.StatusCode)
	}
	body, err := io.ReadAll(io.LimitReader(response.Body, maxKeySet+1))
	if err != nil {
		return nil, fmt.Errorf("reading the keys: %w", err)
	}
	return parseKeys(body)
}

// parseKeys reads each key by itself: one that is odd must not cost the others. Its errors
// hold nothing of the document.
func parseKeys(body []byte) (map[keyName]crypto.PublicKey, error) {
	var set struct {
		Keys []json.RawMessage `json:"keys"`
	}
	if len(body) > maxKeySet {
		return nil, fmt.Errorf("reading the keys: more than %d bytes", maxKeySet)
	}
	if json.Unmarshal(body, &set) != nil {
		return nil, errors.New("reading the keys: not a JSON Web Key Set; is jwks_url right?")
	}
	keys := map[keyName]crypto.PublicKey{}
	for _, raw := range set.Keys {
		name, key := usable(raw)
		if _, taken := keys[name]; key != nil && !taken {
			keys[name] = key
		}
	}
	if len(keys) == 0 {
		return nil, fmt.Errorf("reading the keys: none of %d is a public RSA or P-256 key for signatures with a kid", len(set.Keys))
	}
	return keys, nil
}

// usable returns nil for a key that must not verify a token: one without an id, for
// encryption, of another kind, too short, private or symmetric. Whoever publishes the
// latter two has given them away.
func usable(raw []byte) (keyName, crypto.PublicKey) {
	var key jose.JSONWebKey
	if key.UnmarshalJSON(raw) != nil || key.KeyID == "" || (key.Use != "" && key.Use != "sig") {
		return keyName{}, nil
	}
	name := keyName{id: key.KeyID}
	switch public := key.Key.(type) {
	case *rsa.PublicKey:
		if public.N.BitLen() >= minRSA {
			name.algorithm = jose.RS256
		}
	case *ecdsa.PublicKey:
		if public.Curve == elliptic.P256() {
			name.algorithm = jose.ES256
		}
	}
	if name.algorithm == "" || (key.Algorithm != "" && key.Algorithm != string(name.algorithm)) {
		return keyName{}, nil
	}
	return name, key.Key
}
