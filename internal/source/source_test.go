package source

import (
	"slices"
	"strings"
	"testing"

	"rollcall/internal/event"
	"rollcall/internal/must"
)

func TestNewRefuses(t *testing.T) {
	hook := func(provider string, secrets ...string) Config {
		return Config{Name: "auth", Provider: provider, SigningSecrets: secrets}
	}
	database := func(header string, secrets ...string) Config {
		return Config{Name: "auth", Provider: Supabase, WebhookHeader: header, WebhookSecrets: secrets}
	}
	for name, test := range map[string]struct {
		cfg  Config
		want string
	}{
		"no name":             {Config{Provider: Clerk}, "needs a name"},
		"unknown provider":    {hook("auth0"), "its provider must be clerk or supabase"},
		"empty secret":        {hook(Clerk, ""), "signing secret 1 holds an empty secret"},
		"second is empty":     {hook(Clerk, clerkSecret, " "), "signing secret 2 holds white space"},
		"several in one":      {hook(Supabase, supabaseSecret+"|"+supabaseSecret), "not base64"},
		"one byte":            {hook(Clerk, "whsec_AA=="), "fewer than 24 bytes"},
		"23 bytes":            {hook(Clerk, "whsec_MTIzNDU2Nzg5MDEyMzQ1Njc4OTAxMjM="), "fewer than 24 bytes"},
		"no prefix":           {hook(Clerk, "bWFkZSB1cCBmb3IgdGVzdHMsIGNsZXJrIG9uZSEh"), "starts with whsec_"},
		"Clerk as Supabase":   {hook(Supabase, clerkSecret), "start with v1,whsec_"},
		"Supabase as Clerk":   {hook(Clerk, supabaseSecret), "start with whsec_"},
		"asymmetric":          {hook(Supabase, "v1a,whsk_bWFkZSB1cCBmb3IgdGVzdHMsIHN1cGFiYXNlIDEhISE="), "asymmetric"},
		"not base64":          {hook(Clerk, "whsec_made-up-for-tests-not-base64!!"), "not base64"},
		"no header":           {database("", "made-up"), "name the header"},
		"empty header secret": {database("X-Secret", ""), "shorter than 16"},
		"only a scheme":       {database("Authorization", "Bearer          "), "white space"},
		"blanks around":       {database("X-Secret", "made-up and long\n"), "white space"},
		"Clerk's database":    {Config{Name: "auth", Provider: Clerk, WebhookHeader: "X", WebhookSecrets: []string{"made-up"}}, "only Supabase"},
		"Supabase instance":   {Config{Name: "auth", Provider: Supabase, InstanceID: "ins_1"}, "only Clerk"},
	} {
		t.Run(name, func(t *testing.T) {
			err := must.Err(New(test.cfg))
			must.Fail(t, err, nil, test.want)
			for _, secret := range append(test.cfg.SigningSecrets, test.cfg.WebhookSecrets...) {
				must.True(t, len(secret) <= 7 || err == nil || !strings.Contains(err.Error(), secret[7:]),
					"the error holds the secret: %v", err)
			}
		})
	}
}

func TestEndpoints(t *testing.T) {
	bare := build(t, Config{Name: "capture", Provider: Supabase})
	for _, test := range []struct {
		s    *Source
		d    Endpoint
		want bool
	}{
		{clerkSource(t), Hook, true}, {clerkSource(t), Database, false},
		{supabaseSource(t), Hook, true}, {supabaseSource(t), Database, true},
		{bare, Hook, false}, {bare, Database, false}, {supabaseSource(t), Endpoint(7), false},
	} {
		what := test.s.Name() + ", " + test.d.String()
		must.Equal(t, test.s.Open(test.d), test.want, what+": open")
		must.Equal(t, must.Err(test.s.Sign(test.d, nil)) == nil, test.want, what+": signs")
	}
}

func TestTypes(t *testing.T) {
	types := clerkSource(t).Types(Hook)
	must.True(t, slices.Contains(types, Type{"session.created", event.Upsert}), "session.created is not in %v", types)
	must.Equal(t, clerkSource(t).Types(Database), nil, "Clerk has no database endpoint")
	must.Equal(t, supabaseSource(t).Types(Database), []Type{
		{"database.insert", event.Upsert}, {"database.update", event.Upsert}, {"database.delete", event.Delete}, {Other, event.Ignore},
	}, "of the database endpoint")
	supabaseSource(t).Types(Hook)[0].Name = "scribbled over"
	must.Equal(t, supabaseSource(t).Types(Hook)[0].Name, hookBefore, "the source's own, not the caller's copy")
}
