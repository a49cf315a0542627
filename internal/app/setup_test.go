package app

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"rollcall/internal/config"
	"rollcall/internal/must"
	"rollcall/internal/session"
	"rollcall/internal/target"
)

func getenv(name string) string {
	switch {
	case name == "DATABASE_URL":
		return "postgres://localhost/app"
	case strings.HasPrefix(name, "CLERK"), strings.HasPrefix(name, "NOTIFY"):
		return "whsec_dGVzdC1zZWNyZXQtb2YtY2xlcmstMDAwMQ=="
	case strings.HasPrefix(name, "SUPABASE_AUTH"):
		return "v1,whsec_dGVzdC1zZWNyZXQtb2Ytc3VwYWJhc2UtMQ=="
	case strings.HasSuffix(name, "_FILE"):
		return ""
	}
	return "made-up-secret-for-tests-of-32-bytes-or-more"
}

// assemble loads a configuration without a problem, and puts it together.
func assemble(t *testing.T, name, text string, getenv func(string) string) (*Setup, config.Problems) {
	t.Helper()
	cfg, problems := config.Load(name, []byte(text), config.Env{Getenv: getenv})
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	return Assemble(cfg)
}

func wantProblems(t *testing.T, problems config.Problems, want string) {
	t.Helper()
	if diff := cmp.Diff(want, problems.Error()); diff != "" {
		t.Errorf("problems (-want +got):\n%s", diff)
	}
}

// Every configuration that the documentation shows is one that works, and has no mistake where its variables are
// not set.
func TestDocumentedConfigurations(t *testing.T) {
	t.Parallel()
	blocks := regexp.MustCompile("(?s)```yaml\n(.*?)```")
	found := 0
	for _, pattern := range []string{"../../README.md", "../../docs/*.md"} {
		files := must.Get(filepath.Glob(pattern))(t)
		for _, file := range files {
			text := must.Get(os.ReadFile(file))(t)
			for _, block := range blocks.FindAllSubmatch(text, -1) {
				found++
				if _, err := Read(file, block[1], getenv); err != nil {
					t.Error(err)
				}
				if _, problems := Validate(file, block[1], config.Env{Unset: func(string) {}}); len(problems) > 0 {
					t.Errorf("without variables: %v", problems)
				}
			}
		}
	}
	if found == 0 {
		t.Error("no configuration found")
	}
}

// What a variable would hold is not judged while it is not set, whatever it stands in; the rest is.
func TestValidateUnset(t *testing.T) {
	t.Parallel()
	const file = `database: ${A}
admin_token: ${B}
sources:
  clerk: {provider: clerk, signing_secrets: ["${C}"], api: {key: "${D}"}, session: {issuer: "${E}"}}
  supabase: {provider: "${F}", database_webhook: {secrets: ["${G}", "${B}"]}}
targets:
  users: {table: "${H}", key: "${I}", from: ["${J}"], set: {id: new.id, x: "${K}"}, where: "${L}", on_delete: "${M}"}
limits: {queue: "${N}", body: much}
`
	var unset []string
	_, problems := Validate("r.yaml", []byte(file), config.Env{Unset: func(name string) { unset = append(unset, name) }})
	wantProblems(t, problems, `r.yaml:8:31: limits.body: "much" is no size; write 1MiB, 512KiB or a number of bytes`)
	must.Equal(t, strings.Join(unset, ""), "ABCDEFGBHIJKLMN", "variables that are not set")
}

// The connection string is judged without a connection.
func TestValidateConnection(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"host=db.example.com port=99999":  "r.yaml:1:1: database: a port must be a number up to 65535",
		"postgres://app@db.example.com/a": "",
		"nothing":                         `r.yaml:1:11: database: the value is no connection string`,
	} {
		_, problems := Validate("r.yaml", []byte("database: "+text+"\n"), config.Env{})
		got := problems.Error()
		must.True(t, strings.HasPrefix(got, want) && (want != "") == (len(problems) == 1), "%s: %s", text, got)
	}
}

func TestAssemble(t *testing.T) {
	t.Parallel()
	const yaml = `database: ${DATABASE_URL}
sources:
  clerk: {provider: clerk, signing_secrets: ["${CLERK_SECRET}"], instance_id: ins_1}
  supabase:
    provider: supabase
    database_webhook: {header: Authorization, secrets: ["${WEBHOOK}"]}
targets:
  members:
    table: shop.Member
    from: [clerk]
    key: [source, id]
    set: {source: new.source, id: new.id, email: new.email, deleted_at: null}
    on_insert: {role: "'free'"}
    on_delete: {email: null, deleted_at: now()}
    where: new.email is not null
  teams: {roll: organizations, table: public.teams, key: id, set: {id: new.id}, on_delete: keep}
`
	a, problems := assemble(t, "f.yaml", yaml, getenv)
	if len(problems) > 0 || len(a.Sources) != 2 || a.Sources[0].Name() != "clerk" || a.Sources[1].Name() != "supabase" {
		t.Fatalf("sources %v, problems %v", a.Sources, problems)
	}
	expr := func(sql, at string) target.Expr { return target.Expr{SQL: sql, Written: sql, At: "f.yaml:" + at} }
	want := []target.Target{{
		Name: "members", At: "f.yaml:8:3", Table: "shop.Member", Key: []string{"source", "id"},
		From: []target.Origin{{Source: "clerk", SampleID: "user_2abcDEF3ghiJKL4mnoPQR5stuVW"}},
		Set: []target.Assignment{{Column: "source", Expr: expr("new.source", "12:19")}, {Column: "id", Expr: expr("new.id", "12:35")},
			{Column: "email", Expr: expr("new.email", "12:50")}, {Column: "deleted_at", Expr: expr("null", "12:73")}},
		OnInsert: []target.Assignment{{Column: "role", Expr: expr("'free'", "13:23")}},
		OnDelete: target.OnDelete{Action: target.DeleteSet, Set: []target.Assignment{
			{Column: "email", Expr: expr("null", "14:24")}, {Column: "deleted_at", Expr: expr("now()", "14:42")},
		}},
		Where: &target.Expr{SQL: "new.email is not null", Written: "new.email is not null", At: "f.yaml:15:12"},
	}, {
		Name: "teams", Roll: "organizations", At: "f.yaml:16:3", Table: "public.teams", Key: []string{"id"},
		From:     []target.Origin{{Source: "clerk", SampleID: "user_2abcDEF3ghiJKL4mnoPQR5stuVW"}}, // supabase has none
		Set:      []target.Assignment{{Column: "id", Expr: expr("new.id", "16:72")}},
		OnDelete: target.OnDelete{Action: target.DeleteKeep},
	}}
	if diff := cmp.Diff(want, a.Targets); diff != "" {
		t.Errorf("targets (-want +got):\n%s", diff)
	}
}

// What only SQL's rules tell is said with its place, everything at once.
func TestAssembleProblems(t *testing.T) {
	t.Parallel()
	const yaml = `database: ${DATABASE_URL}
sources:
  clerk: {provider: clerk, signing_secrets: ["${CLERK_SECRET}"]}
targets:
  a:
    table: public.a
    key: id
    set: {id: new.email}
    on_delete: keep
  b:
    table: public.b
    key: id
    set:
      id: new.id
      role: free
      plan: 1; drop table b
    on_delete: keep
`
	_, problems := assemble(t, "f.yaml", yaml, getenv)
	want := `f.yaml:8:15: target a: key column id is made from new.email, which may change; a key uses only new.source, new.id and constants
f.yaml:15:13: target b: free is no column of new; did you mean the text free? write "'free'"
f.yaml:16:13: target b: ";" in 1; drop table b: one expression is wanted; in YAML, put the whole between double quotes or after >-`
	wantProblems(t, problems, want)
}

// Sessions that could not work are said at their place.
func TestAssembleSessions(t *testing.T) {
	t.Parallel()
	const yaml = `database: ${DATABASE_URL}
sources:
  clerk: {provider: clerk, session: {issuer: https://clerk.example.com}}
  other:
    provider: clerk
    api: {key: sk_test_1}
    session: {issuer: https://other.example.com, authorized_parties: [https://app.example.com], hs256_secret: "${SUPABASE_JWT}"}
  supabase:
    provider: supabase
    session: {issuer: https://ref.supabase.co/auth/v1, audience: authenticated}
  twin:
    provider: supabase
    session: {issuer: https://ref.supabase.co/auth/v1}
targets:
  a: {table: public.a, key: id, set: {id: new.id}, on_delete: keep}
`
	a, problems := assemble(t, "f.yaml", yaml, getenv)
	want := `f.yaml:3:28: source clerk: session: just-in-time sync asks Clerk's API for the user; add api: {key: "${CLERK_SECRET_KEY}"} to the source
f.yaml:7:5: source other: session: hs256_secret: Clerk signs session tokens with RS256 only; remove it
f.yaml:13:5: source twin: session: issuer: source supabase has the same; a token must belong to one source`
	wantProblems(t, problems, want)
	if got := a.Sessions[1]; got.Source != "supabase" || got.Audience != "authenticated" || got.Provider != session.Supabase {
		t.Errorf("got %+v", got)
	}
}

// The file itself shows a target that would delete the provider's users.
func TestClosedTable(t *testing.T) {
	t.Parallel()
	for table, want := range map[string]bool{
		"auth.users": true, "auth.identities": true, "rollcall.users": true, "accounts": true, "public.accounts": true,
		"public.users": false, "app.accounts": false, "public.Accounts": false,
	} {
		text := "database: ${DATABASE_URL}\nsources:\n  supabase: {provider: supabase, users_table: public.accounts}\n" +
			"  clerk: {provider: clerk, signing_secrets: [\"${CLERK_WEBHOOK_SIGNING_SECRET}\"]}\n" +
			"targets:\n  people: {table: " + table + ", from: [clerk], key: id, set: {id: new.id}, on_delete: delete}\n"
		_, problems := assemble(t, "rollcall.yaml", text, getenv)
		if got := strings.Contains(problems.Error(), "rollcall.yaml:6:3: target people: ") && strings.Contains(problems.Error(), "is a table of the provider"); got != want {
			t.Errorf("%s: problems %q, want one: %v", table, problems.Error(), want)
		}
	}
}

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

// Claims that the auth server's own tokens have are refused, each at its place.
func TestReservedClaims(t *testing.T) {
	t.Parallel()
	text, want := "database: postgres://app@db/app\nsources:\n  app:\n    provider: supabase\n    claims:\n", []string{}
	for n, name := range strings.Fields("aal amr app_metadata aud client_id email exp iat is_anonymous iss jti nbf phone ref role scope session_id sub user_metadata") {
		text += "      " + name + ": new.email\n"
		want = append(want, fmt.Sprintf("r.yaml:%d:%d: source app: claim %s: Supabase gives this claim itself, and others rely on it; choose another name, such as app_role", n+6, len(name)+9, name))
	}
	_, problems := Validate("r.yaml", []byte(text+"      app_role: new.email\n"), config.Env{Getenv: func(string) string { return "x" }})
	wantProblems(t, problems, strings.Join(want, "\n"))
}

// The hash of a configuration is that of what its claims are, not of where they stand.
func TestHashOfClaims(t *testing.T) {
	t.Parallel()
	hash := func(file, claims string) string {
		text := "database: postgres://app@db/app\nsources:\n  app: {provider: supabase" + claims + "}\n"
		return must.Get(Read(file, []byte(text), func(string) string { return "x" }))(t).Hash()
	}
	one := hash("a.yaml", ", claims: {plan: \"'free'\", tier: \"1\"}")
	for name, other := range map[string]string{
		"in another file": hash("b.yaml", ", claims: {plan: \"'free'\", tier: \"1\"}"), "after spaces": hash("a.yaml", ",   claims: { plan:  \"'free'\", tier: \"1\"}"),
		"in another order": hash("a.yaml", ", claims: {tier: \"1\", plan: \"'free'\"}"), "on another line": hash("a.yaml", ",\n   claims: {plan: \"'free'\", tier: 1}"),
	} {
		must.Equal(t, other, one, "the same claims "+name)
	}
	must.True(t, hash("a.yaml", ", claims: {plan: \"'paid'\", tier: \"1\"}") != one, "other claims have the same hash")
	must.True(t, hash("a.yaml", ", claims: {plan: \"'free'\", rank: \"1\"}") != one, "another claim has the same hash")
	must.True(t, hash("a.yaml", "") != one, "no claims have the same hash")
}

// The hash of a configuration is that of what its condition about sign-ups is, not of where it stands.
func TestHashOfAdmission(t *testing.T) {
	t.Parallel()
	hash := func(file, admission string) string {
		text := "database: postgres://app@db/app\nsources:\n  app: {provider: supabase" + admission + "}\n"
		return must.Get(Read(file, []byte(text), func(string) string { return "" }))(t).Hash()
	}
	one := hash("a.yaml", ", admission: {require: new.email is null}")
	must.Equal(t, hash("b.yaml", ",   admission: {require: new.email is null}"), one)
	must.True(t, hash("a.yaml", ", admission: {require: new.phone is null}") != one, "another condition has the same hash")
	must.True(t, hash("a.yaml", "") != one, "no condition has the same hash")
}
