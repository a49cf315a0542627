package testevent

import (
	"strings"
	"time"

	"rollcall/internal/rawjson"
	"rollcall/internal/source"
)

// Person is a made-up user, to be filled into a template. No text may need an escape in JSON.
type Person struct {
	ID, Email, Username, Phone string
	FirstName, LastName        string
	Team                       Team
}

// Team is a made-up organisation and the person's membership of it, for the events about them.
type Team struct {
	ID, Slug, Name string
	Founder        string // the user who created it
	Membership     string // its id
}

// texts are all that tells users and organisations apart, and the names. The founder is the last.
func (p *Person) texts() [12]string {
	return [...]string{
		p.ID, p.Email, p.Username, p.Phone, p.FirstName, p.LastName, p.FirstName + " " + p.LastName,
		p.Team.ID, p.Team.Slug, p.Team.Name, p.Team.Membership, p.Team.Founder,
	}
}

// Template is a built-in event cut into pieces, so that filling it in for one of many users costs a copy. It is safe
// for concurrent use.
type Template struct {
	// Endpoint is where the event belongs.
	Endpoint source.Endpoint
	// pieces alternate between text and a letter for what stands behind it: a text of the person, or a word.
	pieces []string
}

const (
	letters = "abcdefghijklmnopqrstuvwxyz"
	// letterMark surrounds a letter while a body is cut up; no JSON text holds the character.
	letterMark = "\x00"
)

// NewTemplate returns a built-in event by its name as a template; false when the provider has
// none. It is dated and about a user as Sample.Body is; all that tells users apart, and the
// names, are filled in.
func NewTemplate(src *source.Source, name string) (Template, bool) {
	sample, ok := Find(src, name)
	if !ok {
		return Template{}, false
	}
	mark := func(slot int) string { return letterMark + letters[slot:slot+1] + letterMark }
	texts := personIn(src, sample).texts()
	const creator = `"created_by":"`
	founder := len(texts) - 1 // also stands where a member does
	replaced := []string{`$instance`, sample.instance, creator + texts[founder] + `"`, creator + mark(founder) + `"`}
	for n, w := range words {
		replaced = append(replaced, w.text, mark(len(texts)+n))
	}
	for slot, text := range texts {
		if strings.TrimSpace(text) != "" {
			replaced = append(replaced, `"`+text+`"`, `"`+mark(slot)+`"`)
		}
	}
	return Template{sample.Endpoint, strings.Split(strings.NewReplacer(replaced...).Replace(sample.body), letterMark)}, true
}

// personIn is the user of a sample.
func personIn(src *source.Source, x Sample) *Person {
	body := x.Body(time.Now())
	e := src.Decode(source.Request{Endpoint: x.Endpoint, Body: body})
	p := &Person{ID: e.UserID}
	found := map[*string]*string{}
	if u := e.User; u != nil {
		found = map[*string]*string{
			&p.Email: u.Email, &p.Username: u.Username, &p.Phone: u.Phone, &p.FirstName: u.FirstName, &p.LastName: u.LastName,
		}
	}
	if o := e.Organization; o != nil {
		p.Team.ID = o.ID
		found[&p.Team.Slug], found[&p.Team.Name], found[&p.Team.Founder] = o.Slug, o.Name, o.CreatedBy
	}
	if m := e.Membership; m != nil {
		p.Team.Membership = m.ID
		user := rawjson.Member(rawjson.Member(body, "data"), "public_user_data")
		p.Email, p.Username = rawjson.Text(rawjson.Member(user, "identifier")), rawjson.Text(rawjson.Member(user, "username"))
		p.FirstName, p.LastName = rawjson.Text(rawjson.Member(user, "first_name")), rawjson.Text(rawjson.Member(user, "last_name"))
	}
	for to, text := range found {
		if text != nil {
			*to = *text
		}
	}
	return p
}

// Append appends the event, as the provider would send it about a person at a moment, to a slice and returns that.
func (t *Template) Append(to []byte, p Person, now time.Time) []byte {
	texts := p.texts()
	now = now.UTC()
	for n, piece := range t.pieces {
		if n%2 == 0 {
			to = append(to, piece...)
		} else if slot := int(piece[0] - letters[0]); slot < len(texts) {
			to = append(to, texts[slot]...)
		} else {
			to = words[slot-len(texts)].write(to, now)
		}
	}
	return to
}
