package deploy

import (
	"os/exec"
	"regexp"
	"strings"
	"testing"
	"time"

	"rollcall/internal/must"
)

// directive is a line of the unit.
var directive = regexp.MustCompile(`(?m)^(\w+)=(.*)$`)

// The unit of systemd starts a command that there is, and gives it the time that it needs to end.
func TestSystemdUnit(t *testing.T) {
	t.Parallel()
	unit := map[string]string{}
	for _, m := range directive.FindAllStringSubmatch(read(t, "rollcall.service"), -1) {
		unit[m[1]] = m[2]
	}
	args := strings.Fields(unit["ExecStart"])
	must.True(t, len(args) > 1 && args[0] == "/usr/local/bin/rollcall", "it starts %q", unit["ExecStart"])
	// With --help a command line is parsed, and the configuration is not read.
	help := append(append([]string{"run", "../cmd/rollcall"}, args[1:]...), "--help")
	out, err := exec.CommandContext(t.Context(), "go", help...).CombinedOutput()
	must.True(t, err == nil && strings.Contains(string(out), "rollcall serve [flags]"), "%v: %s %v", args[1:], out, err)
	stop := must.Get(time.ParseDuration(unit["TimeoutStopSec"] + "s"))(t)
	must.True(t, stop > 10*time.Second, "it is killed after %v, and may take 10 s to end", stop)
	for _, name := range []string{"DynamicUser", "NoNewPrivileges", "PrivateTmp"} {
		must.Equal(t, unit[name], "yes", name)
	}
}
