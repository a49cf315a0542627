package config

import (
	"fmt"

	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"
)

// kind is what a node is. refused is YAML that isn't part of the language; its
// problem is already reported.
type kind int

const (
	refused kind = iota
	text
	number
	boolean
	null
	mapping
	list
)

func (k kind) String() string {
	return [...]string{"a YAML feature", "text", "a number", "true or false", "null", "a map", "a list"}[k]
}

// style is how a text is written; the hints depend on it.
type style int

const (
	plainStyle style = iota
	singleQuoted
	doubleQuoted
	blockStyle
)

// node is a YAML value without the parser's own types.
type node struct {
	kind  kind
	style style
	// flow means that it stands inside { } or [ ].
	flow bool
	// blank means a null that is not written in the file.
	blank   bool
	pos     Pos
	text    string
	entries []entry
	items   []*node
}

// entry is a key of a mapping with its value.
type entry struct {
	key   string
	pos   Pos
	value *node
}

// reader turns the parser's tree into nodes and reports what isn't part of the
// language.
type reader struct {
	file     string
	problems *Problems
}

// read parses the file. ok is false when it isn't YAML; the node is nil when it
// holds nothing, or nothing that can be used.
func (r reader) read(data []byte) (n *node, ok bool) {
	f, err := parser.ParseBytes(data, 0, parser.AllowDuplicateMapKey())
	if err != nil {
		*r.problems = append(*r.problems, syntaxProblem(r.file, data, err))
		return nil, false
	}
	bodies := documents(f)
	if len(bodies) == 0 {
		r.problems.AddAs(CodeSyntax, Pos{r.file, 1, 1}, "the file is empty; the smallest configuration is\n%s", smallest)
		return nil, true
	}
	if len(bodies) > 1 {
		r.problems.AddAs(CodeSyntax, r.start(bodies[1]), "a second document starts here; keep one, without --- between")
	}
	return r.node(bodies[0], false), true
}

// smallest is what an empty file is answered with.
const smallest = `database: ${DATABASE_URL}
sources:
  clerk:
    provider: clerk
    signing_secrets: ["${CLERK_WEBHOOK_SIGNING_SECRET}"]
targets:
  users:
    table: public.users
    key: id
    set:
      id: new.id
    on_delete: delete`

// documents are the contents of the file; directives count as none.
func documents(f *ast.File) []ast.Node {
	var bodies []ast.Node
	for _, d := range f.Docs {
		if _, directive := d.Body.(*ast.DirectiveNode); d.Body == nil || directive {
			continue
		}
		if _, nothing := d.Body.(*ast.NullNode); nothing && len(f.Docs) == 1 {
			continue
		}
		bodies = append(bodies, d.Body)
	}
	return bodies
}

func (r reader) node(n ast.Node, flow bool) *node {
	out := &node{flow: flow, pos: r.start(n)}
	switch n := n.(type) {
	case *ast.StringNode:
		out.kind, out.text, out.style = text, n.Value, styleOf(n.Token.Type)
	case *ast.LiteralNode:
		out.kind, out.text, out.style = text, n.Value.Value, blockStyle
	case *ast.IntegerNode, *ast.FloatNode:
		out.kind, out.text = number, n.GetToken().Value
	case *ast.BoolNode:
		out.kind, out.text = boolean, n.Token.Value
	case *ast.NullNode:
		out.kind, out.text, out.blank = null, "null", n.Token.Type == token.ImplicitNullType
	case *ast.InfinityNode, *ast.NanNode:
		out.kind, out.text = text, n.GetToken().Value
	case *ast.SequenceNode:
		out.kind, out.items = list, r.items(n, flow || n.IsFlowStyle)
	case *ast.MappingNode:
		out.kind, out.entries = mapping, r.entries(n.Values, flow || n.IsFlowStyle)
	case *ast.MappingValueNode:
		out.kind, out.entries = mapping, r.entries([]*ast.MappingValueNode{n}, flow)
	default:
		r.problems.AddAs(CodeSyntax, out.pos, "%s", refusal(n))
	}
	return out
}

func styleOf(t token.Type) style {
	switch t {
	case token.SingleQuoteType:
		return singleQuoted
	case token.DoubleQuoteType:
		return doubleQuoted
	}
	return plainStyle
}

// refusal says what to write instead of YAML's finer points: a reader of the file
// should find each value where it is used.
func refusal(n ast.Node) string {
	switch n.(type) {
	case *ast.AnchorNode:
		return "YAML anchors (&name) aren't read; write the value out where it is used, or quote a text that starts with &"
	case *ast.AliasNode:
		return "YAML aliases (*name) aren't read; write the value out here, or quote a text that starts with *"
	case *ast.TagNode:
		return "YAML tags (!name) aren't read; leave the tag out, or quote a text that starts with !"
	}
	return "this YAML isn't read here; write text, a number, a list or a map"
}

func (r reader) items(n *ast.SequenceNode, flow bool) []*node {
	var items []*node
	for _, v := range n.Values {
		if whole, apart := wholeText(v); apart {
			items = append(items, &node{kind: text, flow: flow, pos: r.start(v), text: whole})
			continue
		}
		items = append(items, r.node(v, flow))
	}
	return items
}

// wholeText puts a text together that the parser has taken apart: in a list within { } it takes
// every colon for a map's, also that of http://localhost:5173. In YAML a blank stands behind a
// map's, or quotes before it.
func wholeText(n ast.Node) (text string, apart bool) {
	m, ok := n.(*ast.MappingNode)
	if !ok || len(m.Values) != 1 || m.GetToken().Type != token.MappingValueType {
		return "", false
	}
	key, value, colon := m.Values[0].Key.GetToken(), m.Values[0].Value.GetToken(), m.Values[0].Start
	if !isPlain(m.Values[0].Key) || !isPlain(m.Values[0].Value) || value.Position.Offset != colon.Position.Offset+1 {
		return "", false
	}
	return key.Value + colon.Value + value.Value, true
}

// isPlain reports whether a node is one word or more, without quotes.
func isPlain(n ast.Node) bool {
	_, scalar := n.(ast.ScalarNode)
	return scalar && styleOf(n.GetToken().Type) == plainStyle
}

// entries drops a repeated key: the first one counts, so that its mistakes are
// reported once.
func (r reader) entries(values []*ast.MappingValueNode, flow bool) []entry {
	var entries []entry
	first := map[string]Pos{}
	for _, v := range values {
		e := entry{pos: r.start(v.Key)}
		key, complaint := keyText(v.Key)
		if complaint != "" {
			r.problems.AddAs(CodeSyntax, e.pos, "%s", complaint)
			continue
		}
		if before, twice := first[key]; twice {
			r.problems.AddAs(CodeSyntax, e.pos, "%s stands twice; the first is in line %d, keep one", join("", key), before.Line)
			continue
		}
		first[key] = e.pos
		e.key, e.value = key, r.node(v.Value, flow)
		if e.value.blank { // nothing stands there
			e.value.pos = e.pos
		}
		entries = append(entries, e)
	}
	return entries
}

func keyText(key ast.MapKeyNode) (text, complaint string) {
	switch key := key.(type) {
	case *ast.StringNode:
		return key.Value, ""
	case *ast.MergeKeyNode:
		return "", "YAML merge keys (<<) aren't read; write the fields out here"
	case *ast.MappingKeyNode:
		return "", "YAML's ? keys aren't read; write name: value"
	case *ast.IntegerNode, *ast.FloatNode, *ast.BoolNode, *ast.NullNode, *ast.InfinityNode, *ast.NanNode:
		return "", fmt.Sprintf("YAML reads the name %s as a value; put it in double quotes", key.GetToken().Value)
	}
	return "", "a name must be plain text here; write name: value"
}

// start is where a node begins for a reader: a block mapping begins at its first
// key, though the parser says at its first colon.
func (r reader) start(n ast.Node) Pos {
	switch v := n.(type) {
	case *ast.MappingNode:
		if !v.IsFlowStyle && len(v.Values) > 0 {
			return r.start(v.Values[0].Key)
		}
	case *ast.MappingValueNode:
		return r.start(v.Key)
	case *ast.LiteralNode:
		return r.pos(v.Start)
	}
	if n == nil {
		return Pos{r.file, 1, 1}
	}
	return r.pos(n.GetToken())
}

func (r reader) pos(t *token.Token) Pos {
	if t == nil || t.Position == nil {
		return Pos{File: r.file}
	}
	return Pos{r.file, t.Position.Line, t.Position.Column}
}
