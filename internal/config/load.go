package config

import (
	"bytes"
	"reflect"
	"unicode/utf8"
)

// Load reads a configuration and finds all its mistakes, sorted by position. The
// Config is nil only where the data isn't YAML; with problems it is what could be
// understood, good for further checks and for nothing else. file is the name that the
// positions carry.
func Load(file string, data []byte, env Env) (*Config, Problems) {
	d := &decoder{
		file: file, env: env,
		places: map[string]Pos{}, values: map[string]Pos{}, labels: map[string]string{},
	}
	data = bytes.TrimPrefix(data, []byte("\ufeff"))
	if !utf8.Valid(data) {
		d.problems.Add(notUTF8(file, data), "this byte is no UTF-8; save the file as UTF-8")
		return nil, d.problems
	}
	root, ok := reader{file, &d.problems}.read(data)
	if !ok {
		return nil, d.problems
	}
	cfg := &Config{places: d.places, labels: d.labels}
	setDefaults(reflect.ValueOf(cfg).Elem())
	if root != nil {
		d.section(root, reflect.ValueOf(cfg).Elem(), "")
		d.check(cfg)
	}
	d.problems.Sort()
	return cfg, d.problems
}
