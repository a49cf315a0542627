package source

import (
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"
)

// Sign signs a body the way the source's provider does, with a fresh id and the
// present time, and returns the headers to send. At the database endpoint it sets the
// secret header.
func (s *Source) Sign(d Endpoint, body []byte) (http.Header, error) {
	return s.SignAs(d, body, "", time.Time{})
}

// SignAs is Sign with an id and a time of the caller's choice: a provider's retry
// repeats an id, and an old request has an old time. Empty values are made up.
func (s *Source) SignAs(d Endpoint, body []byte, id string, at time.Time) (http.Header, error) {
	if !s.Open(d) {
		return nil, fmt.Errorf("sign for source %s: the %s endpoint has no secret", s.name, d)
	}
	header := http.Header{"Content-Type": {"application/json"}}
	if d == Database {
		header.Set(s.header, s.secrets[0])
		return header, nil
	}
	if at.IsZero() {
		at = s.now()
	}
	if id == "" {
		id = s.freshID()
	}
	signatures, err := s.signatures(id, at, body)
	if err != nil {
		return nil, fmt.Errorf("sign for source %s: %w", s.name, err)
	}
	names := s.family()
	header.Set(names.id, id)
	header.Set(names.timestamp, strconv.FormatInt(at.Unix(), 10))
	header.Set(names.signature, signatures)
	return header, nil
}

// signatures signs with every secret, as both providers do during a rotation; each
// has its own way to join them.
func (s *Source) signatures(id string, at time.Time, body []byte) (string, error) {
	var all []string
	for _, key := range s.keys {
		signature, err := key.Sign(id, at, body)
		if err != nil {
			return "", err
		}
		all = append(all, signature)
	}
	if s.provider == Supabase {
		return strings.Join(all, ", "), nil
	}
	return strings.Join(all, " "), nil
}

func (s *Source) freshID() string {
	id := uuid.NewString()
	if s.provider == Clerk {
		return "msg_" + strings.ReplaceAll(id, "-", "")
	}
	return id
}
