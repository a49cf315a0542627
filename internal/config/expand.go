package config

import (
	"errors"
	"fmt"
	"io/fs"
	"regexp"
	"strings"
)

// Env is the environment of the file: variables, and the files that NAME_FILE names. An empty variable counts as
// unset; with a nil function no variable, or no file, exists.
type Env struct {
	Getenv   func(string) string
	ReadFile func(string) ([]byte, error)
	// Unset is told each variable that is not set; then that is no mistake, and the value is not judged. With nil
	// it is a mistake.
	Unset func(name string)
}

var variable = regexp.MustCompile(`^\$\{([A-Za-z_][A-Za-z0-9_]*)\}`)

var (
	// bare is a whole value that looks like a shell's variable. A secret has small letters, too.
	bare = regexp.MustCompile(`^\$([A-Z_][A-Z0-9_]*)$`)
	// inside are those within a value.
	inside = regexp.MustCompile(`\$([A-Z][A-Z0-9_]*)`)
)

// forgotten is the name of a variable that a text writes without braces, or "". Within a longer text only
// one that is set counts: $ may stand in a password or in SQL.
func (e Env) forgotten(text string) string {
	if m := bare.FindStringSubmatch(text); m != nil {
		return m[1]
	}
	for _, m := range inside.FindAllStringSubmatch(text, -1) {
		if e.Getenv(m[1]) != "" || e.Getenv(m[1]+"_FILE") != "" {
			return m[1]
		}
	}
	return ""
}

// expand replaces each ${NAME} of a text, and is not whole without a value of each. The complaints are about names
// only, never about values.
func (e Env) expand(text string) (value string, whole bool, complaints []string) {
	whole = true
	var out strings.Builder
	for text != "" {
		i := strings.Index(text, "${")
		if i < 0 {
			break
		}
		if i > 0 && text[i-1] == '$' {
			out.WriteString(text[:i-1] + "${")
			text = text[i+2:]
			continue
		}
		out.WriteString(text[:i])
		text = text[i:]
		m := variable.FindStringSubmatch(text)
		if m == nil {
			return "", false, append(complaints, "${ starts no variable here; write ${NAME} with letters, digits and _ only, or $${ for a literal ${")
		}
		value, complaint := e.lookup(m[1])
		switch {
		case complaint != "":
			whole, complaints = false, append(complaints, complaint)
		case value == "":
			whole = false
		}
		out.WriteString(value)
		text = text[len(m[0]):]
	}
	return out.String() + text, whole, complaints
}

// lookup prefers NAME to NAME_FILE: what is set by hand overrides what is mounted. Without a complaint, no value is
// one that may be unset.
func (e Env) lookup(name string) (value, complaint string) {
	if value := e.Getenv(name); value != "" {
		return value, ""
	}
	path := e.Getenv(name + "_FILE")
	if path == "" {
		if e.Unset != nil {
			e.Unset(name)
			return "", ""
		}
		return "", fmt.Sprintf("%s is not set; set %s, or %s_FILE to the path of a file that holds it", name, name, name)
	}
	data, err := e.ReadFile(path)
	if err != nil {
		return "", fmt.Sprintf("the file that %s_FILE names %s; set it to the path of a file that holds the value", name, unreadable(err))
	}
	value = string(data)
	if body, ended := strings.CutSuffix(value, "\n"); ended {
		value = strings.TrimSuffix(body, "\r")
	}
	if value == "" {
		return "", fmt.Sprintf("the file that %s_FILE names is empty; write the value into it", name)
	}
	return value, ""
}

// unreadable leaves out the error's own text: it holds the path, a variable's value.
func unreadable(err error) string {
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return "does not exist"
	case errors.Is(err, fs.ErrPermission):
		return "may not be read by this user"
	}
	return "can't be read"
}

// known is the environment with functions that find nothing in place of nil ones.
func (e Env) known() Env {
	if e.Getenv == nil {
		e.Getenv = func(string) string { return "" }
	}
	if e.ReadFile == nil {
		e.ReadFile = func(string) ([]byte, error) { return nil, fs.ErrNotExist }
	}
	return e
}
