package trial

import (
	"fmt"
	"slices"
	"strings"

	"rollcall/internal/event"
	"rollcall/internal/source"
	"rollcall/internal/testevent"
)

// Sample is a built-in event about one of many made-up users, who are all alike.
type Sample struct {
	Source string `json:"source"`
	Event  string `json:"event" doc:"a built-in event: rollcall send --help lists them"`
	// User is which of the users: each has an id, an e-mail and the like of their own. 0 is the first.
	User int `json:"user,omitempty" minimum:"0" maximum:"999999999" doc:"which of the made-up users; each has an id and an e-mail of their own"`
	// Set are changes of the body.
	Set []string `json:"set,omitempty" maxItems:"100" doc:"changes of the body, such as data.first_name=Zoé; a value is JSON if it can be read as JSON, else a text"`
}

// MistakeError says what is wrong with a sample.
type MistakeError struct {
	Field   string // of Sample
	Value   any
	Message string
}

// Error implements error.
func (e *MistakeError) Error() string { return e.Field + ": " + e.Message }

// drafted is a sample with its signed request.
type drafted struct {
	sample  Sample
	source  *source.Source
	built   testevent.Sample
	request testevent.Request
	event   event.Event // what the receiver reads in the request
	// madeUp: it is about a built-in user, not one that a change names.
	madeUp bool
}

// draft makes the request of a sample.
func (t Trial) draft(s Sample) (*drafted, error) {
	at := slices.IndexFunc(t.Replay.Sources, func(src *source.Source) bool { return src.Name() == s.Source })
	if at < 0 {
		return nil, &MistakeError{"source", s.Source, "the configuration has no source of this name"}
	}
	d := &drafted{sample: s, source: t.Replay.Sources[at]}
	var found bool
	if d.built, found = testevent.Find(d.source, s.Event); !found {
		known := strings.Join(testevent.Names(d.source.Provider()), ", ")
		return nil, &MistakeError{"event", s.Event, "there is no such event; those of " + d.source.Provider() + " are " + known}
	}
	if !d.source.Open(d.built.Endpoint) {
		return nil, &MistakeError{"event", s.Event, closed(d.source, d.built.Endpoint, t.Table(s.Source))}
	}
	return d, d.make()
}

// make makes and signs the request.
func (d *drafted) make() error {
	var changes []testevent.Change
	for _, word := range d.sample.Set {
		c, err := testevent.ParseChange(word)
		if err != nil {
			return &MistakeError{"set", word, "write path=value, such as data.first_name=Zoé"}
		}
		changes = append(changes, c)
	}
	plain, err := d.body(nil)
	var body []byte
	if err == nil {
		body, err = d.body(changes)
	}
	if err != nil {
		return &MistakeError{"set", strings.Join(d.sample.Set, "\n"), err.Error()}
	}
	if d.request, err = testevent.Seal(d.source, d.built.Endpoint, body); err != nil {
		return err
	}
	d.event = d.request.Event()
	made := testevent.Request{Source: d.source, Endpoint: d.built.Endpoint, Header: d.request.Header, Body: plain}.Event()
	d.madeUp = idOf(&made) == idOf(&d.event) && made.UserID == d.event.UserID && made.OrganizationID() == d.event.OrganizationID()
	return nil
}

// body is that of a built-in event about the user of the sample.
func (d *drafted) body(changes []testevent.Change) ([]byte, error) {
	user := max(d.sample.User, 1)
	team, err := d.team(user)
	if err != nil {
		return nil, err
	}
	return testevent.NewDraft(d.source, d.built, append(team, changes...)).Body(user, false)
}

// team has a membership be of an organisation that is the user's own, or deleting it would end those of all.
func (d *drafted) team(user int) ([]testevent.Change, error) {
	if !strings.HasPrefix(d.built.Name, "organizationMembership.") {
		return nil, nil
	}
	organization, _ := testevent.Find(d.source, "organization.created")
	body, err := testevent.NewDraft(d.source, organization, nil).Body(user, false)
	var changes []testevent.Change
	for _, name := range []string{"id", "slug"} {
		text := testevent.Field{Path: "data." + name}.Of(body)
		changes = append(changes, testevent.Field{Path: "data.organization." + name}.To(text))
	}
	return changes, err
}

// closed says why an endpoint takes nothing, and what opens it.
func closed(src *source.Source, endpoint source.Endpoint, table string) string {
	if table != "" && !src.Open(source.Hook) && !src.Open(source.Database) {
		return fmt.Sprintf("source %s has no secret, so there is nothing to sign a sample with: it follows the table %s; "+
			"insert a row there, or give the source signing_secrets", src.Name(), table)
	}
	missing := "signing_secrets"
	if endpoint == source.Database {
		missing = "database_webhook"
	}
	return fmt.Sprintf("the %s endpoint of source %s is closed, because it has no secret; give the source %s", endpoint, src.Name(), missing)
}

// undo are the samples that delete what one has made. One about another user than the made-up ones has none.
func (d *drafted) undo() []Sample {
	list := []Sample{}
	add := func(name string) {
		built, found := testevent.Find(d.source, name)
		if found && d.source.Open(built.Endpoint) {
			list = append(list, Sample{Source: d.sample.Source, Event: name, User: d.sample.User})
		}
	}
	if !d.madeUp || d.event.Op != event.Upsert {
		return list
	}
	switch {
	case d.source.Provider() == source.Supabase:
		add("database.delete")
	case d.event.Membership != nil:
		add("organizationMembership.deleted")
		add("organization.deleted")
	case d.event.Organization != nil:
		add("organization.deleted")
	default:
		add("user.deleted")
	}
	return list
}
