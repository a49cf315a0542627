package doctor

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"time"

	"rollcall/internal/clerk"
	"rollcall/internal/config"
)

// file judges what the configuration alone shows.
func (e *examination) file() {
	for _, s := range e.File.Sources {
		if s.API == nil || s.Session == nil {
			continue
		}
		issuer, err := url.Parse(s.Session.Issuer)
		if err != nil {
			continue
		}
		dev, key := strings.HasSuffix(issuer.Hostname(), ".clerk.accounts.dev"), s.API.Key.Reveal()
		var kind string
		switch {
		case strings.HasPrefix(key, "sk_test_") && !dev:
			kind = "a development instance's, and session.issuer is a production instance's"
		case strings.HasPrefix(key, "sk_live_") && dev:
			kind = "a production instance's, and session.issuer is a development instance's"
		default:
			continue
		}
		e.add(apiKeyKind, e.at("sources", s.Name, "api", "key"), fmt.Sprintf("the key of source %s is %s: every user would seem to be gone", s.Name, kind),
			sourceYAML(s.Name, `api: {key: "${CLERK_SECRET_KEY}"}`))
	}
}

// apiTimeout bounds what a provider's API is waited for.
const apiTimeout = 3 * time.Second

// apis asks each API for some users that the roll has long known, or, where it knows none, how many there are.
func (e *examination) apis(ctx context.Context) error {
	for _, s := range e.File.Sources {
		api := e.APIs[s.Name]
		if s.API == nil || api == nil {
			continue
		}
		ids, err := e.DB.Directory().Listing(s.Name).Sample(ctx, sampled, e.Now().Add(-knownFor))
		if err != nil {
			return err
		}
		e.api(ctx, s, api, ids)
	}
	return nil
}

func (e *examination) api(ctx context.Context, s config.Source, api *clerk.API, ids []string) {
	ctx, cancel := context.WithTimeout(ctx, apiTimeout)
	defer cancel()
	found, err := 0, error(nil)
	if len(ids) == 0 {
		_, err = api.Fetch(ctx, "user_rollcallDoctor000000000000000")
		ids = nil
	}
	for _, id := range ids {
		if _, err = api.Fetch(ctx, id); err == nil {
			found++
			break
		} else if !errors.Is(err, clerk.ErrGone) {
			break
		}
	}
	at, remedy := e.at("sources", s.Name, "api", "key"), sourceYAML(s.Name, `api: {key: "${CLERK_SECRET_KEY}"}`)
	switch {
	case found > 0:
	case errors.Is(err, clerk.ErrRefused):
		e.add(apiKeyRefused, at, fmt.Sprintf("source %s: %v", s.Name, err), remedy)
	case errors.Is(err, clerk.ErrGone) && len(ids) == sampled:
		e.add(apiOtherInstance, at, fmt.Sprintf("the API of source %s knows none of %d users that the roll has long known: the key seems to be another "+
			"instance's", s.Name, len(ids)), remedy)
	case err != nil && !errors.Is(err, clerk.ErrGone):
		e.add(apiUnreachable, at, fmt.Sprintf("source %s: %v", s.Name, err), command("curl -sS %s", s.API.URL))
	}
}
