package config

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"
	"github.com/santhosh-tekuri/jsonschema/v6"

	"rollcall/internal/must"
)

// schemaFile is where examples find the schema.
const schemaFile = "../../examples/rollcall.schema.json"

func compileSchema(t *testing.T) *jsonschema.Schema {
	t.Helper()
	text := must.Get(Schema())(t)
	c := jsonschema.NewCompiler()
	must.Do(t, c.AddResource("rollcall.json", must.Get(jsonschema.UnmarshalJSON(strings.NewReader(string(text))))(t)))
	return must.Get(c.Compile("rollcall.json"))(t)
}

// asJSON is what a schema judges of a YAML text.
func asJSON(t *testing.T, text string) any {
	t.Helper()
	data := must.Get(yaml.YAMLToJSON([]byte(text)))(t)
	return must.Get(jsonschema.UnmarshalJSON(strings.NewReader(string(data))))(t)
}

// exampleFiles are the configurations of the repository, by file.
func exampleFiles(t *testing.T) map[string]string {
	t.Helper()
	files := map[string]string{}
	for _, pattern := range []string{"../../examples/*/rollcall.yaml", "../../deploy/rollcall.yaml", "../demo/rollcall.yaml"} {
		for _, file := range must.Get(filepath.Glob(pattern))(t) {
			files[file] = string(must.Get(os.ReadFile(file))(t))
		}
	}
	must.Equal(t, len(files), 8, "configurations")
	return files
}

// Each example fits the schema, and tells an editor where it is.
func TestExamplesFitTheSchema(t *testing.T) {
	t.Parallel()
	schema := compileSchema(t)
	for file, text := range exampleFiles(t) {
		must.Do(t, schema.Validate(asJSON(t, text)))
		first, _, _ := strings.Cut(text, "\n")
		path, named := strings.CutPrefix(first, "# yaml-language-server: $schema=")
		must.True(t, named, "%s begins with %s", file, first)
		must.Equal(t, filepath.Join(filepath.Dir(file), path), schemaFile, file)
	}
	must.Do(t, schema.Validate(asJSON(t, everything)))
}

// The file that the examples name is what the command prints.
func TestSchemaFile(t *testing.T) {
	t.Parallel()
	got := string(must.Get(Schema())(t))
	if *update {
		must.Do(t, os.WriteFile(schemaFile, []byte(got), 0o644))
	}
	must.Equal(t, string(must.Get(os.ReadFile(schemaFile))(t)), got, schemaFile+": rewrite it with go test ./internal/config -run "+t.Name()+" -update")
}

// everything has each field once; its wrong combinations are Load's affair.
const everything = `
database: ${DATABASE_URL}
listen: :8080
admin_listen: 127.0.0.1:8081
admin_token: ${T}
admin_tokens: {alice: "${A}"}
admin_hosts: [rollcall.example.com]
sources:
  a:
    provider: ${P}
    signing_secrets: ["${S}"]
    instance_id: ins_1
    api: {key: k, url: https://api.clerk.com/v1}
    session: {issuer: https://a.example, jwks_url: https://a.example/keys, authorized_parties: [https://b.example], audience: x, hs256_secret: y}
    reconcile: {schedule: "0 3 * * *", max_delete: 5%}
    when_unavailable: refuse
    admission: {allow_domains: [a.example], deny_domains: [b.example], deny_domains_file: denied.txt, require: true, message: No.}
    users_table: none
    claims: {app_role: "'member'"}
    database_webhook: {header: X, secrets: [s]}
targets:
  t:
    roll: users
    table: t
    from: [a]
    key: [id]
    set: {id: new.id, n: null, b: true, i: 1, f: 1.5}
    on_insert: {x: "'y'"}
    match: {column: email}
    on_delete: {z: null}
    where: true
notify:
  n:
    on: [appeared, "${TRANSITION}"]
    from: [a]
    where: new.email is not null
    payload: [email]
    webhook: {url: https://a.example, secrets: ["${S}"], allow_private: true}
    channel: c
limits: {body: 1MiB, metadata: 1048576, queue: "${Q}", wait: 4s, lock_timeout: 800ms, statement_timeout: 4s}
retry: {attempts: 20}
retention: {bodies: 7d, undecodable: 30d, events: 90d}
sync: {origins: [https://a.example], max_age: 60s}
log: {level: info, format: text}
`

// The schema has each field of the reference, and no map of it takes another one.
func TestSchemaRefusesUnknownFields(t *testing.T) {
	t.Parallel()
	schema := compileSchema(t)
	maps := 1
	for _, f := range Reference() {
		value := asJSON(t, everything)
		at := value
		for name := range strings.SplitSeq(strings.NewReplacer("sources.*", "sources.a", "targets.*", "targets.t", "notify.*", "notify.n").Replace(f.Path), ".") {
			inner, ok := at.(map[string]any)
			must.True(t, ok, "the configuration with everything has no map for %s", f.Path)
			if at, ok = inner[name]; !ok {
				t.Errorf("the configuration with everything lacks %s", f.Path)
			}
		}
		if inner, ok := at.(map[string]any); ok && f.Type == "map" {
			maps++
			inner["unknown"] = "x"
			must.True(t, schema.Validate(value) != nil, "an unknown field of %q passes", f.Path)
		}
	}
	must.Equal(t, maps, 13, "maps of the reference")
	for _, text := range []string{"unknown: x", "sources: {a: {provider: clerk, unknown: x}}", "targets: {t: {table: t, key: id, set: {id: new.id}, on_delete: keep, unknown: x}}"} {
		must.True(t, schema.Validate(asJSON(t, "database: a=b\n"+text)) != nil, "%s passes", text)
		must.Do(t, schema.Validate(asJSON(t, "database: a=b\n"+strings.TrimSuffix(strings.Replace(text, "unknown: x", "", 1), "\n"))))
	}
	for _, wrong := range []string{
		"listen: 8080", "log: {level: loud}", "limits: {queue: {}}", "sources: {}", "sources: {A: {provider: clerk}}", "sources: [{provider: clerk}]",
		"sources: {a: {provider: okta}}", "sources: {a: {}}", "targets: {t: {table: t, key: id, set: {id: new.id}, on_delete: drop}}",
		"targets: {t: {table: t, key: id, set: {id: [x]}, on_delete: keep}}", "sync: {origins: https://a.example}",
		"notify: {n: {on: [apeared], channel: c}}", "notify: {n: {on: appeared, channel: c}}", "notify: {n: {channel: c}}",
	} {
		must.True(t, schema.Validate(asJSON(t, "database: a=b\n"+wrong)) != nil, "%s passes", wrong)
	}
	must.True(t, schema.Validate(asJSON(t, "listen: :80")) != nil, "no database passes")
}
