//go:build node

package notify

import (
	"encoding/json"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"testing"

	"rollcall/internal/must"
	"rollcall/internal/postgres/transitions"
)

// The libraries that receivers in Node use verify what is sent, with either secret of a rotation.
func TestNodeLibrariesVerify(t *testing.T) {
	t.Parallel()
	if _, err := os.Stat("testdata/verify/node_modules/svix"); err != nil {
		t.Fatal("svix is missing; run npm ci in internal/notify/testdata/verify: ", err)
	}
	b := newBench(t, "n")
	r := newReceiver(t, func(http.ResponseWriter, *http.Request) {})
	n := b.notifier(Config{Query: transitions.Query{Payload: []string{"email"}}, URL: r.URL, Secrets: []string{newSecret, oldSecret}, AllowPrivate: true})
	b.appear("u1", "ü'2\n")
	b.run(n)
	must.Equal(t, len(r.got), 2)
	type request struct {
		Headers map[string]string `json:"headers"`
		Body    string            `json:"body"`
	}
	var requests []request
	for _, got := range r.got {
		headers := map[string]string{}
		for name := range got.header {
			headers[strings.ToLower(name)] = got.header.Get(name)
		}
		requests = append(requests, request{headers, got.body})
	}
	input := must.Get(json.Marshal(map[string]any{"secrets": []string{newSecret, oldSecret}, "requests": requests}))(t)
	cmd := exec.CommandContext(t.Context(), "node", "verify.mjs")
	cmd.Dir, cmd.Stdin, cmd.Stderr = "testdata/verify", strings.NewReader(string(input)), t.Output()
	var verified []struct {
		Type string
		Data struct{ ID, Email string }
	}
	must.Do(t, json.Unmarshal(must.Get(cmd.Output())(t), &verified))
	must.Equal(t, len(verified), 8, "requests × secrets × libraries")
	for _, v := range verified {
		must.Equal(t, v.Type, "appeared")
		must.Equal(t, v.Data.Email, v.Data.ID+"@example.com")
	}
}
