package source

import (
	"encoding/base64"
	"errors"
	"fmt"
	"strings"

	svix "github.com/svix/svix-webhooks/go"
)

// minKeyBytes is the least that the Standard Webhooks specification allows for a key;
// the library itself would take a single byte.
const minKeyBytes = 24

// parseKeys builds one verifier per secret: the library holds one key per object.
func parseKeys(provider string, values []string) ([]*svix.Webhook, error) {
	var keys []*svix.Webhook
	for i, secret := range splitSecrets(values) {
		raw, err := parseKey(provider, strings.TrimSpace(secret))
		if err != nil {
			return nil, fmt.Errorf("signing secret %d: %w", i+1, err)
		}
		key, err := svix.NewWebhookRaw(raw)
		if err != nil {
			return nil, fmt.Errorf("signing secret %d: %w", i+1, err)
		}
		keys = append(keys, key)
	}
	return keys, nil
}

func parseKey(provider, secret string) ([]byte, error) {
	prefix := "whsec_"
	if provider == Supabase {
		prefix = "v1,whsec_"
	}
	rest, found := strings.CutPrefix(secret, prefix)
	switch {
	case secret == "":
		return nil, errors.New("is empty")
	case strings.HasPrefix(secret, "v1a,"):
		// Supabase Auth takes such a secret at its start and then fails every call.
		return nil, errors.New("is asymmetric (v1a), which is not supported; use " + prefix + "<base64>")
	case !found:
		return nil, errors.New("must have the form " + prefix + "<base64>")
	}
	// The decoder's error is left out on purpose: nothing of a secret goes into a log.
	key, err := base64.StdEncoding.DecodeString(rest)
	if err != nil {
		return nil, errors.New("is not base64 after " + prefix)
	}
	if len(key) < minKeyBytes {
		return nil, fmt.Errorf("is a key of %d bytes; at least %d are needed", len(key), minKeyBytes)
	}
	return key, nil
}

// parseHeaderSecrets checks the secrets of the database door. HTTP trims header
// values, so a secret with blanks around it could never match.
func parseHeaderSecrets(values []string) ([]string, error) {
	for i, secret := range values {
		switch {
		case withoutBearer(secret) == "":
			return nil, fmt.Errorf("database webhook secret %d: is empty", i+1)
		case strings.TrimSpace(secret) != secret:
			return nil, fmt.Errorf("database webhook secret %d: has blanks around it", i+1)
		}
	}
	return values, nil
}
