package trial

import (
	"rollcall/internal/testevent"
)

// Offer is a source with its built-in events.
type Offer struct {
	Source string
	Events []string
}

// Offers are those of all sources.
func (t Trial) Offers() []Offer {
	var list []Offer
	for _, src := range t.Replay.Sources {
		list = append(list, Offer{src.Name(), testevent.Names(src.Provider())})
	}
	return list
}

// Field is a part of a sample that a form offers to change.
type Field struct {
	testevent.Field

	Value string
}

// Fields are those of a sample with what they have in it; none if there is no such sample.
func (t Trial) Fields(s Sample) []Field {
	d, err := t.draft(s)
	if err != nil {
		return nil
	}
	var list []Field
	for _, f := range d.built.Fields(d.source) {
		list = append(list, Field{f, f.Of(d.request.Body)})
	}
	return list
}

// Becomes is the change of a sample that puts a text into the field.
func (f Field) Becomes(text string) string {
	c := f.To(text)
	return c.Path + "=" + c.Value
}
