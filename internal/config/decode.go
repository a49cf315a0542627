package config

import (
	"bytes"
	"fmt"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"rollcall/internal/target"
)

// decoder fills the types of config.go from nodes. It goes on after every mistake,
// and reports each once.
type decoder struct {
	file     string
	env      Env
	problems Problems
	// places holds where each field of the file stands, by path; list items as path[0].
	places map[string]Pos
	// values holds where each field's value stands, by path.
	values map[string]Pos
	// labels holds how a message may call a list's item, by path: never by the value of
	// a variable.
	labels map[string]string
}

// Load reads a configuration and finds all its mistakes, sorted by position. The
// Config is nil only where the data isn't YAML; with problems it is what could be
// understood, good for further checks and for nothing else. file is the name that the
// positions carry.
func Load(file string, data []byte, env Env) (*Config, Problems) {
	d := &decoder{
		file: file, env: env.known(),
		places: map[string]Pos{}, values: map[string]Pos{}, labels: map[string]string{},
	}
	data = bytes.TrimPrefix(data, []byte("\ufeff"))
	if !utf8.Valid(data) {
		d.problems.AddAs(CodeSyntax, notUTF8(file, data), "this byte is no UTF-8; save the file as UTF-8")
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

// field is what the tags of one struct field say.
type field struct {
	index    int
	name     string
	required bool
	as       string
	def      string
	only     string
	also     []string // what others call it
	doc      string
}

// fields are the tagged fields of a struct, in its order.
func fields(t reflect.Type) []field {
	var out []field
	for i := range t.NumField() {
		tag := t.Field(i).Tag
		name, options, _ := strings.Cut(tag.Get("yaml"), ",")
		if name == "" {
			continue
		}
		out = append(out, field{
			index: i, name: name, required: options == "required",
			as: tag.Get("as"), def: tag.Get("default"), only: tag.Get("only"), doc: tag.Get("doc"),
			also: strings.Fields(tag.Get("also")),
		})
	}
	return out
}

func names(fs []field) []string {
	out := make([]string, len(fs))
	for i, f := range fs {
		out[i] = f.name
	}
	return out
}

// setDefaults fills a struct and the structs in it; a pointer stays nil, its defaults
// come with it.
func setDefaults(v reflect.Value) {
	for _, f := range fields(v.Type()) {
		to := v.Field(f.index)
		if to.Kind() == reflect.Struct && to.Type() != reflect.TypeFor[Secret]() && to.Type() != reflect.TypeFor[target.OnDelete]() {
			setDefaults(to)
		}
		if f.def == "" {
			continue
		}
		if complaint := parse(to.Addr().Interface(), f.def, f.as); complaint != "" {
			panic(f.name + ": the default " + complaint) // only a wrong tag can do this
		}
	}
}

// section fills a struct from a map.
func (d *decoder) section(n *node, to reflect.Value, path string) {
	known := fields(to.Type())
	if !d.is(n, mapping, path, "a map of "+strings.Join(names(known), ", ")) {
		return
	}
	given := map[string]bool{}
	for _, e := range n.entries {
		i := slices.IndexFunc(known, func(f field) bool { return f.name == e.key })
		if i < 0 {
			d.unknown(e, known, path)
			continue
		}
		given[e.key] = true
		at := join(path, e.key)
		d.places[at], d.values[at] = e.pos, e.value.pos
		d.value(e.value, to.Field(known[i].index), known[i], at)
	}
	for _, f := range known {
		if f.required && !given[f.name] {
			what, _, _ := strings.Cut(f.doc, ";")
			d.problems.AddAs(CodeField, d.place(path), "%s is missing; add %q, the %s", join(path, f.name), f.name+": …", what)
		}
	}
}

// unknown reports a field that the language doesn't have.
func (d *decoder) unknown(e entry, known []field, path string) {
	if e.value.blank && e.value.flow {
		// The name may be the second half of a secret: it isn't repeated.
		d.problems.AddAs(CodeSyntax, e.pos, "%s holds a name without a value here; %s", orFile(path), hintFlow)
		return
	}
	d.problems.AddAs(CodeField, e.pos, "%s is no field of the configuration; %s",
		join(path, e.key), guess(usual(e.key, known), names(known)))
}

// value fills one field from one node.
func (d *decoder) value(n *node, to reflect.Value, f field, path string) {
	switch p := to.Addr().Interface().(type) {
	case *string, *int, *int64, *float64, *time.Duration, *Secret:
		d.scalar(n, p, f, path)
	case *bool:
		d.truth(n, p, path)
	case *[]string:
		d.texts(n, p, f, path)
	case *[]Secret:
		d.secrets(n, p, f, path)
	case *[]AdminToken:
		d.tokens(n, p, f, path)
	case *[]target.Origin:
		d.origins(n, p, f, path)
	case *[]target.Assignment:
		*p = d.columns(n, path)
	case *target.OnDelete:
		*p = d.onDelete(n, path)
	case **target.Expr:
		if e, ok := d.expr(n, path); ok {
			*p = &e
		}
	case *[]Source:
		*p = named[Source](d, n, path, "source")
	case *[]target.Target:
		*p = named[target.Target](d, n, path, "target")
	case *[]Notification:
		*p = named[Notification](d, n, path, "notification")
	default:
		d.nested(n, to, path)
	}
}

// nested fills a struct, or a pointer to one, which is made with its defaults.
func (d *decoder) nested(n *node, to reflect.Value, path string) {
	if to.Kind() == reflect.Pointer {
		to.Set(reflect.New(to.Type().Elem()))
		to = to.Elem()
		setDefaults(to)
	}
	d.section(n, to, path)
}

var nameForm = regexp.MustCompile(`^[a-z][a-z0-9_-]{0,62}$`)

// IsName reports whether a source or a target may have a name; Load keeps also those that it complains of.
func IsName(name string) bool { return nameForm.MatchString(name) }

// named fills a slice of sources, targets or notifications from a map by name, in the file's order.
func named[T Source | target.Target | Notification](d *decoder, n *node, path, noun string) []T {
	if !d.is(n, mapping, path, "a map of "+noun+"s by name, without -: each name with a colon, its fields below it") {
		return nil
	}
	if len(n.entries) == 0 {
		d.problems.Add(n.pos, "%s is empty; add a %s, or leave %s out", path, noun, path)
	}
	var out []T
	for _, e := range n.entries {
		d.name(e, noun)
		var item T
		v := reflect.ValueOf(&item).Elem()
		setDefaults(v)
		switch p := any(&item).(type) {
		case *Source:
			p.Name, p.Pos = e.key, e.pos
		case *target.Target:
			p.Name, p.At = e.key, e.pos.String()
		case *Notification:
			p.Name, p.Pos = e.key, e.pos
		}
		at := join(path, e.key)
		d.places[at] = e.pos
		d.section(e.value, v, at)
		out = append(out, item)
	}
	return out
}

// name complains of a key that is no name.
func (d *decoder) name(e entry, noun string) {
	if !IsName(e.key) {
		d.problems.Add(e.pos, "%q is no name for a %s; use a lower-case letter, then at most 62 of a-z, 0-9, _ and -", e.key, noun)
	}
}

// is reports whether the node has the wanted kind, and says so if not. wanted is what
// the reader is told to write.
func (d *decoder) is(n *node, k kind, path, wanted string) bool {
	switch n.kind {
	case k:
		return true
	case refused: // already reported
	case null:
		d.problems.Add(n.pos, "%s has no value; give it %s, or leave it out", orFile(path), wanted)
	default:
		d.problems.Add(n.pos, "%s is %s; write %s", orFile(path), n.kind, wanted)
	}
	return false
}

// expand replaces the variables of a text node.
func (d *decoder) expand(n *node, path string) (string, bool) {
	value, whole, complaints := d.env.expand(n.text)
	if name := d.env.forgotten(n.text); name != "" {
		complaints = append(complaints,
			fmt.Sprintf("$%[1]s is not replaced; write ${%[1]s}, in double quotes inside [ ] and { }", name))
	}
	for _, c := range complaints {
		d.problems.AddAs(CodeVariable, n.pos, "%s: %s", path, c)
	}
	return value, whole && len(complaints) == 0
}

// place is where the path stands; for the file itself its beginning.
func (d *decoder) place(path string) Pos {
	if p, ok := d.places[path]; ok {
		return p
	}
	return Pos{d.file, 1, 1}
}

func (d *decoder) given(path string) bool { return d.places[path].Line > 0 }

var plainName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_-]*$`)

// join quotes a name that would look like more than one, or like nothing.
func join(path string, names ...string) string {
	for _, name := range names {
		if !plainName.MatchString(name) {
			name = strconv.Quote(name)
		}
		path = strings.TrimPrefix(path+"."+name, ".")
	}
	return path
}

// Path leads to a field by the names on the way, as At takes it and messages show it.
func Path(names ...string) string { return join("", names...) }

func item(path string, i int) string { return fmt.Sprintf("%s[%d]", path, i) }

func orFile(path string) string {
	if path == "" {
		return "the file"
	}
	return path
}

// usual is the field that others call by this name, as its tag says, else the name itself.
func usual(name string, known []field) string {
	for _, f := range known {
		if slices.Contains(f.also, strings.ToLower(name)) {
			return f.name
		}
	}
	return name
}

// guess says what a misspelt name may mean, and which are known.
func guess(name string, known []string) string {
	list := "known here: " + strings.Join(known, ", ")
	if meant := target.Nearest(name, known); meant != "" {
		return "did you mean " + meant + "? " + list
	}
	return list
}
