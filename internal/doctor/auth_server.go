package doctor

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"rollcall/internal/config"
	"rollcall/internal/target"
)

// authServers asks Supabase's auth servers for what the configuration depends on.
func (e *examination) authServers(ctx context.Context) error {
	for i := range e.File.Sources {
		s := &e.File.Sources[i]
		refuses := s.Admission != nil || s.WhenUnavailable == "refuse"
		matching := slices.IndexFunc(e.File.Targets, func(t target.Target) bool { return t.Match != nil && t.Follows(s.Name) })
		if s.Provider != config.Supabase || !refuses && matching < 0 {
			continue
		}
		if s.Session == nil {
			e.unseen("the auth server of source "+s.Name, "without session.issuer its address is not known")
			continue
		}
		var old, proves error
		if refuses {
			old = e.heedsRefusals(ctx, s)
		}
		if matching >= 0 {
			proves = e.verifiesAddresses(ctx, s, &e.File.Targets[matching])
		}
		if err := errors.Join(old, proves); err != nil {
			e.unseen("the auth server of source "+s.Name, strings.ReplaceAll(err.Error(), "\n", "; "))
		}
	}
	return nil
}

// refusing is the first version of Supabase's auth server that heeds a refusal of before-user-created.
var refusing = [2]int{2, 187}

// heedsRefusals asks an auth server for its version.
func (e *examination) heedsRefusals(ctx context.Context, s *config.Source) error {
	var health struct {
		Version string `json:"version"`
	}
	if err := e.askAuthServer(ctx, s, "/health", &health); err != nil {
		return err
	}
	major, rest, _ := strings.Cut(strings.TrimPrefix(health.Version, "v"), ".")
	minor, _, _ := strings.Cut(rest, ".")
	var version [2]int
	for i, part := range []string{major, minor} {
		number, err := strconv.Atoi(part)
		if err != nil {
			return fmt.Errorf("%s/health has no version but %q", s.Session.Issuer, health.Version)
		}
		version[i] = number
	}
	if slices.Compare(version[:], refusing[:]) >= 0 {
		return nil
	}
	field, remedy := "when_unavailable", sourceYAML(s.Name, "when_unavailable: admit")
	if s.Admission != nil {
		field, remedy = "admission", command("docker pull supabase/gotrue:v%d.%d.0", refusing[0], refusing[1])
	}
	e.add(authServerOld, e.at("sources", s.Name, field), fmt.Sprintf("the auth server is %s, and one older than v%d.%d signs users up "+
		"that Rollcall refuses", health.Version, refusing[0], refusing[1]), remedy)
	return nil
}

// verifiesAddresses asks an auth server whether an address proves anything, for a target whose match depends on it.
func (e *examination) verifiesAddresses(ctx context.Context, s *config.Source, t *target.Target) error {
	var settings struct {
		Autoconfirm *bool `json:"mailer_autoconfirm"`
	}
	if err := e.askAuthServer(ctx, s, "/settings", &settings); err != nil {
		return err
	}
	if settings.Autoconfirm == nil {
		return fmt.Errorf("%s/settings does not say whether addresses are verified", s.Session.Issuer)
	}
	if *settings.Autoconfirm {
		at := e.at("targets", t.Name, "match")
		e.add(authServerConfirms, at, fmt.Sprintf("the auth server of source %s calls each address verified and sends no mail: who signs up with "+
			"another person's address takes over their row of target %s; turn Confirm email on (GOTRUE_MAILER_AUTOCONFIRM=false), or take match out",
			s.Name, t.Name), orEdit(config.Remedy{}, at))
	}
	return nil
}

// askAuthServer reads what an auth server says at a path of its address.
func (e *examination) askAuthServer(ctx context.Context, s *config.Source, path string, into any) error {
	ctx, cancel := context.WithTimeout(ctx, apiTimeout)
	defer cancel()
	at := strings.TrimRight(s.Session.Issuer, "/") + path
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, at, http.NoBody)
	if err != nil {
		return fmt.Errorf("ask the auth server: %w", err)
	}
	client := e.Client
	if client == nil {
		client = http.DefaultClient
	}
	answer, err := client.Do(request)
	if err != nil {
		return fmt.Errorf("ask the auth server: %w", err)
	}
	defer func() { _ = answer.Body.Close() }()
	const most = 64 << 10
	body, err := io.ReadAll(io.LimitReader(answer.Body, most))
	if err != nil {
		return fmt.Errorf("ask the auth server: %w", err)
	}
	if err := json.Unmarshal(body, into); err != nil || answer.StatusCode != http.StatusOK {
		return fmt.Errorf("%s answers %s, and not what was asked", at, answer.Status)
	}
	return nil
}
