package testevent

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"rollcall/internal/event"
	"rollcall/internal/rawjson"
	"rollcall/internal/source"
)

// Change sets a value in a JSON body.
type Change struct {
	// Path is made of names and indexes, such as data.email_addresses[0].email_address.
	Path string
	// Value is JSON.
	Value string
}

// ParseChange reads path=value. The value is JSON if it can be read as JSON, else a text.
func ParseChange(word string) (Change, error) {
	path, text, ok := strings.Cut(word, "=")
	if !ok || path == "" {
		return Change{}, fmt.Errorf("--set %s: write path=value, such as data.first_name=Zoé", word)
	}
	return Change{path, string(valueOf(text))}, nil
}

// Apply makes changes to a JSON body, one after the other, and leaves all other bytes as they are. What is missing
// on the way of a path is made; an index one past the end appends. A path that does not fit the body is an error.
func Apply(body []byte, changes []Change) ([]byte, error) {
	for _, c := range changes {
		var err error
		if body, err = set(body, c.Path, []byte(c.Value)); err != nil {
			return nil, err
		}
	}
	return body, nil
}

// Draft is what bodies about one user or many are made from.
type Draft struct {
	Source   *source.Source
	Endpoint source.Endpoint
	sample   *Sample // nil for a text
	text     []byte
	changes  []Change
}

// NewDraft makes a draft from a built-in event.
func NewDraft(src *source.Source, sample Sample, changes []Change) *Draft {
	return &Draft{Source: src, Endpoint: sample.Endpoint, sample: &sample, changes: changes}
}

// DraftOf makes a draft from a text: a body, or a capture {"headers":{…},"body":"…"} of one.
func DraftOf(src *source.Source, text []byte, changes []Change) (*Draft, error) {
	body, err := bodyOf(text)
	return &Draft{Source: src, Endpoint: endpointFor(src, body), text: body, changes: changes}, err
}

// bodyOf takes the body out of a capture; every other text is a body itself.
func bodyOf(text []byte) ([]byte, error) {
	var capture struct {
		Headers json.RawMessage `json:"headers"`
		Body    json.RawMessage `json:"body"`
	}
	_ = json.Unmarshal(text, &capture) // a text that isn't one leaves it empty
	if capture.Headers == nil || capture.Body == nil {
		return text, nil
	}
	var body string
	if err := json.Unmarshal(capture.Body, &body); err != nil {
		return nil, errors.New("the body of a capture must be a text, the received bytes and no JSON made of them")
	}
	return []byte(body), nil
}

// Body makes the body about the n-th of many users. The changes come last, so they are in all of them. A
// text that was sent before, or is changed, gets a new message id.
func (d *Draft) Body(user int, again bool) ([]byte, error) {
	body := d.text
	if d.sample != nil {
		body = d.sample.Body(time.Now())
	} else if again || len(d.changes) > 0 {
		body = renewed(d.Source, d.Endpoint, body)
	}
	body = another(d.Source, d.Endpoint, body, user)
	if err := d.misplaced(body); err != nil {
		return nil, err
	}
	return Apply(body, d.changes)
}

// misplaced finds a change that would do nothing, for no event of the provider has such a member: often the
// path lacks its beginning.
func (d *Draft) misplaced(body []byte) error {
	if rawjson.Object(body) == nil {
		return nil // Apply says so
	}
	for _, c := range d.changes {
		name, _, _ := strings.Cut(strings.ReplaceAll(c.Path, "[", "."), ".")
		if rawjson.Member(body, name) != nil || name == "" || d.known(name) {
			continue
		}
		hint := ""
		for w := rawjson.Into(body); hint == ""; {
			outer, value, ok := w.Member()
			if !ok {
				break
			}
			if rawjson.Kind(value) == '{' && rawjson.Member(value, name) != nil {
				hint = fmt.Sprintf("; did you mean %s.%s?", outer, c.Path)
			}
		}
		return fmt.Errorf("set %s: no event of %s has %s at its top%s", c.Path, d.Source.Provider(), name, hint)
	}
	return nil
}

// known reports whether a built-in event of the provider has a member of this name.
func (d *Draft) known(name string) bool {
	return slices.ContainsFunc(Names(d.Source.Provider()), func(event string) bool {
		sample, _ := Find(d.Source, event)
		return rawjson.Member([]byte(sample.body), name) != nil
	})
}

// AboutOne reports whether the changes give every body the same id, of the user, the organisation or the membership.
// Then all bodies are about the same user in everything else, too.
func (d *Draft) AboutOne() (bool, error) {
	var bodies [2]event.Event
	for i := range bodies {
		body, err := d.Body(i+1, false)
		if err != nil {
			return false, err
		}
		bodies[i] = d.Source.Decode(source.Request{Endpoint: d.Endpoint, Body: body})
	}
	a, b := &bodies[0], &bodies[1]
	switch {
	case a.Membership != nil && b.Membership != nil:
		return a.Membership.ID == b.Membership.ID || a.UserID == b.UserID, nil
	case a.Organization != nil && b.Organization != nil:
		return a.Organization.ID == b.Organization.ID, nil
	}
	return a.UserID == b.UserID, nil
}

// Seal signs a body that Body has made.
func (d *Draft) Seal(body []byte) (Request, error) { return Seal(d.Source, d.Endpoint, body) }
