//go:build unix

package pgserver

import (
	"archive/zip"
	"bytes"
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"rollcall/internal/must"
)

func TestFindNamesTheRemedy(t *testing.T) {
	t.Parallel()
	f := finder{
		places: func(context.Context) []place {
			return []place{{"/somewhere/bin", "pg_config --bindir"}, {"/elsewhere/bin", "PATH"}}
		},
		check: func(context.Context, string) error { return errors.New("no initdb") },
		fetch: func(context.Context) (string, error) { return "", errors.New("unable to connect") },
	}
	must.Fail(t, must.Err(f.find(t.Context())), nil,
		"/somewhere/bin (pg_config --bindir): no initdb", "/elsewhere/bin (PATH): no initdb",
		"download: unable to connect", "apt-get install postgresql", "brew install postgresql@17")
}

func TestFindTakesTheFirstWholeOne(t *testing.T) {
	t.Parallel()
	f := finder{
		places: func(context.Context) []place { return []place{{dir: "half"}, {dir: "whole"}, {dir: "later"}} },
		check: func(_ context.Context, dir string) error {
			if dir == "half" {
				return errors.New("no postgres")
			}
			return nil
		},
	}
	if got, err := f.find(t.Context()); err != nil || got != "whole" {
		t.Errorf("got %s, %v, want whole", got, err)
	}
}

func TestCheckPrograms(t *testing.T) {
	t.Parallel()
	programs := func(version string, names ...string) string {
		dir := reachable(t)
		for _, name := range names {
			script := "#!/bin/sh\necho '" + version + "'\n"
			must.Do(t, os.WriteFile(filepath.Join(dir, name), []byte(script), 0o755))
		}
		return dir
	}
	for _, c := range []struct{ name, dir, want string }{
		{"whole", programs("postgres (PostgreSQL) 14.1", "initdb", "pg_ctl", "postgres"), ""},
		{"beta", programs("postgres (PostgreSQL) 19beta1 (Debian 19)", "initdb", "pg_ctl", "postgres"), ""},
		{"client only", programs("pg_config", "pg_config"), "no initdb"},
		{"without server", programs("x", "initdb", "pg_ctl"), "no postgres"},
		{"old", programs("postgres (PostgreSQL) 13.9 (Debian 13.9)", "initdb", "pg_ctl", "postgres"), "older than 14"},
	} {
		a := must.Get(serverAccount())(t)
		err := checkPrograms(t.Context(), a, c.dir)
		if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%s: got %v, want %q", c.name, err, c.want)
		}
	}
}

func TestNewestFirst(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	bin := func(version string) string { return filepath.Join(root, "pg-"+version, "bin") }
	for _, version := range []string{"9.6", "15", "17", "16"} {
		must.Do(t, os.MkdirAll(bin(version), 0o700))
	}
	if diff := cmp.Diff([]string{bin("17"), bin("16"), bin("15"), bin("9.6")}, newestFirst(bin("*"))); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// repository serves what embedded-postgres downloads: a jar that holds an archive of
// programs, here of three scripts.
func repository(t *testing.T) *httptest.Server {
	t.Helper()
	programs := must.Get(os.ReadFile("testdata/programs.txz"))(t)
	var jar bytes.Buffer
	z := zip.NewWriter(&jar)
	w := must.Get(z.Create("postgres-x86_64.txz"))(t)
	must.Get(w.Write(programs))(t)
	must.Do(t, z.Close())
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !strings.HasSuffix(r.URL.Path, ".jar") {
			http.NotFound(w, r)
			return
		}
		_, _ = w.Write(jar.Bytes())
	}))
	t.Cleanup(server.Close)
	return server
}

func TestFetch(t *testing.T) {
	t.Parallel()
	a := must.Get(serverAccount())(t)
	cache := filepath.Join(reachable(t), "cache")
	for _, from := range []string{repository(t).URL, "http://127.0.0.1:1"} { // the second time it is there
		bin, err := fetch(t.Context(), cache, from)
		if err != nil || filepath.Dir(filepath.Dir(bin)) != cache || !strings.HasPrefix(bin, filepath.Join(cache, "rollcall-")) {
			t.Fatalf("got %s, %v", bin, err)
		}
		must.Do(t, checkPrograms(t.Context(), a, bin))
	}
	if left, _ := filepath.Glob(filepath.Join(cache, "unpack-*")); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

func TestFetchFails(t *testing.T) {
	t.Parallel()
	cache := t.TempDir()
	must.Fail(t, must.Err(fetch(t.Context(), cache, "http://127.0.0.1:1")), nil, "fetch PostgreSQL 17")
	if left, _ := filepath.Glob(filepath.Join(cache, "*")); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

// The directory that the environment names is the only one, also where it has no PostgreSQL.
func TestBinDirectoryOfTheEnvironment(t *testing.T) {
	a := must.Get(serverAccount())(t)
	found := must.Get(newFinder(a).find(t.Context()))(t)
	linked := filepath.Join(reachable(t), "bin")
	must.Do(t, os.Symlink(found, linked))
	t.Setenv(BinEnv, linked)
	if got, err := newFinder(a).find(t.Context()); err != nil || got != linked {
		t.Errorf("got %s, %v, want %s", got, err, linked)
	}
	t.Setenv(BinEnv, "/nowhere")
	must.Fail(t, must.Err(newFinder(a).find(t.Context())), nil, "/nowhere ("+BinEnv+"): no initdb")
}
