package config

import (
	"encoding/base64"
	"fmt"
	"strings"
)

// shortestKey is in bytes. The verifying library takes any length, also a key that
// can be guessed.
const shortestKey = 24

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

// signing says what is wrong with a provider's signing secret, "" if nothing. The
// complaint continues "the value" and quotes nothing of it.
func signing(secret, provider string) (complaint string) {
	switch {
	case secret == "":
		return "holds an empty secret; remove the | too many, or fill it in"
	case strings.ContainsAny(secret[:1]+secret[len(secret)-1:], "'\"`"):
		return "is wrapped in quote characters; remove them from the variable"
	case strings.ContainsAny(secret, " \t\r\n"):
		return "holds white space; copy the secret again, without it"
	}
	for _, p := range pasted {
		if strings.HasPrefix(secret, p.start) {
			return p.what
		}
	}
	prefix, known := prefixes[provider]
	if !known { // the provider has its own problem
		return ""
	}
	return prefixed(secret, provider, prefix)
}

func prefixed(secret, provider, prefix string) (complaint string) {
	for other, p := range prefixes {
		if other != provider && strings.HasPrefix(secret, p) && !strings.HasPrefix(secret, prefix) {
			return fmt.Sprintf("looks like a secret of %s, this source is of %s; were they swapped? It must start with %s", other, provider, prefix)
		}
	}
	encoded, ok := strings.CutPrefix(secret, prefix)
	if !ok {
		return fmt.Sprintf("is no signing secret of %s; copy the one that starts with %s", provider, prefix)
	}
	key, err := base64.StdEncoding.DecodeString(encoded)
	if err != nil {
		return fmt.Sprintf("is not base64 after %s; copy the secret again, whole", prefix)
	}
	if len(key) < shortestKey {
		return fmt.Sprintf("is a key of fewer than %d bytes after base64, which can be guessed; create a longer one", shortestKey)
	}
	return ""
}
