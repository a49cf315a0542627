package config

import (
	"strings"

	"rollcall/internal/target"
)

// texts fills a list of texts. A key may be a single text: most have one column.
func (d *decoder) texts(n *node, to *[]string, f field, path string) {
	items := []*node{n}
	if f.as != "column" || n.kind != text {
		if !d.filled(n, path) {
			return
		}
		items = n.items
	}
	for _, n := range items {
		var value string
		if d.element(n, &value, f, path) {
			at := item(path, len(*to))
			d.places[at], d.labels[at] = n.pos, label(n, false)
			*to = append(*to, value)
		}
	}
}

// origins fills a list of the names of sources.
func (d *decoder) origins(n *node, to *[]target.Origin, f field, path string) {
	var names []string
	d.texts(n, &names, f, path)
	for _, name := range names {
		*to = append(*to, target.Origin{Source: name})
	}
}

// secrets fills a list of secrets; signing secrets are split at |.
func (d *decoder) secrets(n *node, to *[]Secret, f field, path string) {
	if !d.filled(n, path) {
		return
	}
	for _, n := range n.items {
		var whole Secret
		if !d.element(n, &whole, f, path) {
			continue
		}
		parts := []string{whole.Reveal()}
		if f.as == "signing" {
			parts = split(whole.Reveal())
		}
		for _, part := range parts {
			at := item(path, len(*to))
			d.places[at], d.labels[at] = n.pos, label(n, true)
			*to = append(*to, NewSecret(part))
		}
	}
}

// split takes signing secrets apart. White space around one is nobody's intention.
func split(value string) []string {
	parts := strings.Split(value, "|")
	for i := range parts {
		parts[i] = strings.TrimSpace(parts[i])
	}
	return parts
}

// filled reports whether the node is a list with something in it.
func (d *decoder) filled(n *node, path string) bool {
	if !d.is(n, list, path, "a list such as [a, b]") {
		return false
	}
	if len(n.items) == 0 {
		d.problems.Add(n.pos, "%s is empty; add an item, or leave it out", path)
	}
	return len(n.items) > 0
}

// element fills one item and reports whether it is good.
func (d *decoder) element(n *node, to any, f field, path string) bool {
	before := len(d.problems)
	d.scalar(n, to, f, path)
	return n.kind == text && len(d.problems) == before
}
