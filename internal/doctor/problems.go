package doctor

import (
	"regexp"
	"strings"

	"rollcall/internal/config"
)

var (
	variableNamed = regexp.MustCompile(`\b([A-Z][A-Z0-9_]+) is not set`)
	fieldMeant    = regexp.MustCompile(`did you mean ([a-z_]+)`)
	fieldToAdd    = regexp.MustCompile(`add "([a-z_]+: …)"`)
)

// remedyOfProblem parts what a mistake of the file is from what corrects it.
func remedyOfProblem(p config.Problem) (meaning string, remedy config.Remedy) {
	meaning, _, _ = strings.Cut(p.What, "\n")
	remedy = orEdit(p.Remedy, p.Pos.String())
	if p.Remedy != (config.Remedy{}) {
		return meaning, remedy
	}
	if m := variableNamed.FindStringSubmatch(p.What); m != nil {
		remedy = command("export %s=…", m[1])
	} else if m := fieldMeant.FindStringSubmatch(p.What); m != nil {
		remedy = yaml(m[1] + ": …")
	} else if m := fieldToAdd.FindStringSubmatch(p.What); m != nil {
		remedy = yaml(m[1])
	}
	return meaning, remedy
}
