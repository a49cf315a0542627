package app

import (
	"strings"
	"testing"

	"rollcall/internal/config"
)

const (
	clerkSecret    = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
	supabaseSecret = "v1,whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD"
)

// A secret that can't be its provider's is said at its place, by its variable's name.
func TestSigningSecrets(t *testing.T) {
	t.Parallel()
	short := "QUFBQUFBQUFBQUFBQUFBQUFBQUFBQUE=" // 23 bytes
	at := "r.yaml:5:23: sources.s.signing_secrets: the value of ${S} "
	quotes := "is wrapped in quote characters; remove them from the variable"
	tests := []struct{ provider, value, want string }{
		{config.Clerk, clerkSecret, ""},
		{config.Supabase, supabaseSecret, ""},
		{config.Clerk, clerkSecret + " | " + clerkSecret + "\n", ""},
		{config.Clerk, clerkSecret + "|", "holds an empty secret; remove the | too many, or fill it in"},
		{config.Clerk, `"` + clerkSecret + `"`, quotes},
		{config.Supabase, "'" + supabaseSecret, quotes},
		{config.Clerk, strings.Replace(clerkSecret, "M", "\n", 1), "holds white space; copy the secret again, without it"},
		{config.Clerk, supabaseSecret, "looks like a secret of supabase, this source is of clerk; were they swapped? It must start with whsec_"},
		{config.Supabase, clerkSecret, "looks like a secret of clerk, this source is of supabase; were they swapped? It must start with v1,whsec_"},
		{config.Supabase, "v1a,whpk_abc", "is an asymmetric secret (v1a), which is not supported; create one that starts with v1,whsec_"},
		{config.Clerk, "sk_live_abc", "is a Clerk API key, no signing secret; copy the endpoint's own, which starts with whsec_"},
		{config.Clerk, "pk_live_abc", "is a Clerk publishable key, no signing secret; copy the endpoint's own, which starts with whsec_"},
		{config.Supabase, "sb_secret_abc", "is a Supabase API key, no signing secret; copy the hook's own, which starts with v1,whsec_"},
		{config.Supabase, "eyJhbGci", "is a JWT, no signing secret; copy the one of the webhook or hook, which has whsec_ in front"},
		{config.Clerk, "hunter2", "is no signing secret of clerk; copy the one that starts with whsec_"},
		{config.Clerk, "whsec_%%%", "is not base64 after whsec_; copy the secret again, whole"},
		{config.Clerk, "whsec_AA==", "is a key of fewer than 24 bytes after base64, which can be guessed; create a longer one"},
		{config.Clerk, "whsec_", "is a key of fewer than 24 bytes after base64, which can be guessed; create a longer one"},
		{config.Supabase, "v1,whsec_" + short, "is a key of fewer than 24 bytes after base64, which can be guessed; create a longer one"},
	}
	for _, tt := range tests {
		file := "database: a=b\nsources:\n  s:\n    provider: " + tt.provider + "\n    signing_secrets: [\"${S}\"]\n"
		_, problems := assemble(t, "r.yaml", file, func(string) string { return tt.value })
		want := ""
		if tt.want != "" {
			want = at + tt.want
		}
		wantProblems(t, problems, want)
	}
}

func TestHeaderSecrets(t *testing.T) {
	t.Parallel()
	const file = "database: a=b\nsources:\n  s:\n    provider: supabase\n    database_webhook: {secrets: [short, ' a secret of the endpoint', a secret of the endpoint]}\n"
	_, problems := assemble(t, "r.yaml", file, getenv)
	want := "r.yaml:5:34: sources.s.database_webhook.secrets: the value is shorter than 16 characters; use a long random one\n" +
		"r.yaml:5:41: sources.s.database_webhook.secrets: the value starts or ends with white space, which no header carries; remove it"
	wantProblems(t, problems, want)
}

// A source whose name is a mistake itself has its secrets said at their places, too.
func TestSecretsOfAnOddName(t *testing.T) {
	t.Parallel()
	file := "database: a=b\nsources:\n  \"a b\":\n    provider: clerk\n    signing_secrets: [sk_live_abc]\n"
	cfg, _ := config.Load("r.yaml", []byte(file), config.Env{})
	_, problems := Assemble(cfg)
	want := `r.yaml:5:23: sources."a b".signing_secrets: the value is a Clerk API key, no signing secret; copy the endpoint's own, which starts with whsec_`
	wantProblems(t, problems, want)
}
