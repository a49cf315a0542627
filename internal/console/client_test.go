//go:build client

package console_test

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"rollcall/internal/must"
)

const (
	clientModule = "testdata/client"
	document     = "../../docs/openapi.json"
)

// The admin API answers a client that is made of its document, in each of the operations that the document has. The
// client is a module of its own, so that the service depends on nothing of its generator.
func TestGeneratedClient(t *testing.T) {
	s := serve(t)
	s.Exec("delete from rollcall.events")
	for _, id := range []string{"user_1", "user_2", "user_3", "user_4"} {
		s.send("user.created", set("data.id", id), set("data.email_addresses[0].email_address", id+"@example.com"))
	}
	s.send("user.created", set("data.id", "user_bad"), set("data.first_name", ""), set("data.last_name", ""), set("data.email_addresses[0].email_address", "bad@example.com"))

	dir := t.TempDir()
	must.Do(t, os.CopyFS(dir, os.DirFS(clientModule)))
	run := func(name string, args ...string) string {
		t.Helper()
		command := exec.CommandContext(t.Context(), name, args...)
		command.Dir = dir
		command.Env = append(os.Environ(), "GOFLAGS=", "ADMIN_URL="+s.admin, "ADMIN_TOKEN="+token)
		var said bytes.Buffer
		command.Stderr = &said
		out, err := command.Output()
		must.True(t, err == nil, "%s %s: %v\n%s", name, strings.Join(args, " "), err, said.String())
		return string(out)
	}
	run("go", "tool", "oapi-codegen", "-generate", "types,client", "-package", "main", "-o", "client_gen.go", must.Get(filepath.Abs(document))(t))
	run("go", "build", "-o", "client", ".")
	called := strings.Fields(run(filepath.Join(dir, "client")))
	slices.Sort(called)
	must.Equal(t, slices.Compact(called), operations(t), "operations of the document that were called")
	s.Want("select count(*) from rollcall.events where user_id like '%Sample%'", "1") // the key was sent twice
	s.Want("select count(*) from rollcall.tasks", "5")
}

// operations are the ids of those that the document has.
func operations(t *testing.T) []string {
	var d struct {
		Paths map[string]map[string]struct {
			ID string `json:"operationId"`
		}
	}
	must.Do(t, json.Unmarshal(must.Get(os.ReadFile(document))(t), &d))
	var ids []string
	for _, methods := range d.Paths {
		for _, o := range methods {
			ids = append(ids, o.ID)
		}
	}
	slices.Sort(ids)
	return ids
}
