package source

import (
	"encoding/base64"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/google/uuid"
	svix "github.com/svix/svix-webhooks/go"
)

// minKeyBytes is the least that the Standard Webhooks specification allows for a key;
// the library itself would take a single byte.
const minKeyBytes = 24

// minHeaderSecret is in characters: the header of the database endpoint is compared whole.
const minHeaderSecret = 16

// prefixes of the providers' signing secrets; what follows is base64.
var prefixes = map[string]string{Clerk: "whsec_", Supabase: "v1,whsec_"}

// pasted are the starts of what people paste instead of a signing secret.
var pasted = []struct{ start, what string }{
	{"v1a,", "is an asymmetric secret (v1a), which is not supported; create one that starts with v1,whsec_"},
	{"sk_", "is a Clerk API key, no signing secret; copy the endpoint's own, which starts with whsec_"},
	{"pk_", "is a Clerk publishable key, no signing secret; copy the endpoint's own, which starts with whsec_"},
	{"sb_", "is a Supabase API key, no signing secret; copy the hook's own, which starts with v1,whsec_"},
	{"eyJ", "is a JWT, no signing secret; copy the one of the webhook or hook, which has whsec_ in front"},
}

// parseKeys builds one verifier per secret: the library holds one key per object.
func parseKeys(provider string, values []string) ([]*svix.Webhook, error) {
	var keys []*svix.Webhook
	for i, secret := range values {
		raw, complaint := parseKey(provider, secret)
		if complaint != "" {
			return nil, fmt.Errorf("signing secret %d %s", i+1, complaint)
		}
		key, err := svix.NewWebhookRaw(raw)
		if err != nil {
			return nil, fmt.Errorf("signing secret %d: %w", i+1, err)
		}
		keys = append(keys, key)
	}
	return keys, nil
}

// SecretComplaint says what is wrong with a provider's signing secret, "" if nothing. The
// complaint continues "the value" and quotes nothing of it.
func SecretComplaint(provider, secret string) string {
	_, complaint := parseKey(provider, secret)
	return complaint
}

// parseKey returns the key that a provider's signing secret holds, or a SecretComplaint.
func parseKey(provider, secret string) (key []byte, complaint string) {
	switch {
	case secret == "":
		return nil, "holds an empty secret; remove the | too many, or fill it in"
	case strings.ContainsAny(secret[:1]+secret[len(secret)-1:], "'\"`"):
		return nil, "is wrapped in quote characters; remove them from the variable"
	case strings.ContainsAny(secret, " \t\r\n"):
		return nil, "holds white space; copy the secret again, without it"
	}
	for _, p := range pasted {
		if strings.HasPrefix(secret, p.start) {
			return nil, p.what
		}
	}
	for other, p := range prefixes {
		if other != provider && strings.HasPrefix(secret, p) && !strings.HasPrefix(secret, prefixes[provider]) {
			return nil, fmt.Sprintf("looks like a secret of %s, this source is of %s; were they swapped? It must start with %s", other, provider, prefixes[provider])
		}
	}
	return prefixed(provider, secret)
}

func prefixed(provider, secret string) (key []byte, complaint string) {
	prefix := prefixes[provider]
	encoded, ok := strings.CutPrefix(secret, prefix)
	if !ok {
		return nil, fmt.Sprintf("is no signing secret of %s; copy the one that starts with %s", provider, prefix)
	}
	// The decoder's error is left out on purpose: nothing of a secret goes into a log.
	key, err := base64.StdEncoding.DecodeString(encoded)
	if err != nil {
		return nil, fmt.Sprintf("is not base64 after %s; copy the secret again, whole", prefix)
	}
	if len(key) < minKeyBytes {
		return nil, fmt.Sprintf("is a key of fewer than %d bytes after base64, which can be guessed; create a longer one", minKeyBytes)
	}
	return key, ""
}

// checkHeaderSecrets checks the secrets of the database endpoint.
func checkHeaderSecrets(secrets []string) error {
	for i, secret := range secrets {
		if complaint := HeaderComplaint(secret); complaint != "" {
			return fmt.Errorf("database webhook secret %d %s", i+1, complaint)
		}
	}
	return nil
}

// HeaderComplaint says what is wrong with a secret of the database endpoint, as SecretComplaint
// does.
func HeaderComplaint(secret string) string {
	switch {
	case utf8.RuneCountInString(secret) < minHeaderSecret:
		return fmt.Sprintf("is shorter than %d characters; use a long random one", minHeaderSecret)
	case strings.TrimSpace(secret) != secret:
		return "starts or ends with white space, which no header carries; remove it"
	}
	return ""
}

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
