package doctor

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
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

// refusing is the first version of Supabase's auth server that heeds a refusal of before-user-created.
var refusing = [2]int{2, 187}

// authServers asks the auth servers for their version where something depends on it.
func (e *examination) authServers(ctx context.Context) error {
	for _, s := range e.File.Sources {
		field, remedy := "when_unavailable", sourceYAML(s.Name, "when_unavailable: admit")
		switch {
		case s.Provider != config.Supabase:
			continue
		case s.Admission != nil:
			field = "admission"
			remedy = command("docker pull supabase/gotrue:v%d.%d.0", refusing[0], refusing[1])
		case s.WhenUnavailable != "refuse":
			continue
		}
		if s.Session == nil {
			e.unseen("the auth server of source "+s.Name, "without session.issuer its address is not known")
			continue
		}
		version, major, minor, err := e.authVersion(ctx, s.Session.Issuer)
		switch {
		case err != nil:
			e.unseen("the auth server of source "+s.Name, err.Error())
		case major < refusing[0] || major == refusing[0] && minor < refusing[1]:
			e.add(authServerOld, e.at("sources", s.Name, field), fmt.Sprintf("the auth server is %s, and one older than v%d.%d signs users up "+
				"that Rollcall refuses", version, refusing[0], refusing[1]), remedy)
		}
	}
	return nil
}

// authVersion is what an auth server says of itself.
func (e *examination) authVersion(ctx context.Context, issuer string) (version string, major, minor int, err error) {
	ctx, cancel := context.WithTimeout(ctx, apiTimeout)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, strings.TrimRight(issuer, "/")+"/health", http.NoBody)
	if err != nil {
		return "", 0, 0, fmt.Errorf("ask the auth server for its version: %w", err)
	}
	client := e.Client
	if client == nil {
		client = http.DefaultClient
	}
	answer, err := client.Do(request)
	if err != nil {
		return "", 0, 0, fmt.Errorf("ask the auth server for its version: %w", err)
	}
	defer func() { _ = answer.Body.Close() }()
	var health struct {
		Version string `json:"version"`
	}
	const most = 64 << 10
	body, err := io.ReadAll(io.LimitReader(answer.Body, most))
	parts := []string{}
	if err == nil && json.Unmarshal(body, &health) == nil {
		parts = strings.SplitN(strings.TrimPrefix(health.Version, "v"), ".", 3)
	}
	if len(parts) < 2 {
		return "", 0, 0, fmt.Errorf("%s/health answers %s without a version", issuer, answer.Status)
	}
	if major, err = strconv.Atoi(parts[0]); err == nil {
		minor, err = strconv.Atoi(parts[1])
	}
	if err != nil {
		return "", 0, 0, fmt.Errorf("%s/health has a version that is no number: %w", issuer, err)
	}
	return health.Version, major, minor, nil
}
