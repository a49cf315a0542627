package testevent

import (
	"strings"

	"rollcall/internal/rawjson"
	"rollcall/internal/source"
)

// Field is what a form offers to change in a built-in event.
type Field struct{ Name, Path string }

// Fields are those of a built-in event, none of one that says no more than an id.
func (x Sample) Fields(src *source.Source) []Field {
	kind, what, _ := strings.Cut(x.Name, ".")
	switch {
	case strings.HasSuffix(what, "delete") || strings.HasSuffix(what, "deleted"):
		return nil
	case kind == "organization":
		return []Field{{"Name", "data.name"}, {"Slug", "data.slug"}}
	case kind == "organizationMembership":
		return []Field{{"Role", "data.role"}}
	case kind == "session":
		return clerkUser("data.user.")
	case src.Provider() == source.Clerk:
		return clerkUser("data.")
	case x.Endpoint == source.Database:
		return []Field{{"E-mail", "record.email"}, {"Full name", "record.raw_user_meta_data.full_name"}}
	case kind == "customize-access-token":
		return nil
	}
	return []Field{{"E-mail", "user.email"}, {"Full name", "user.user_metadata.full_name"}}
}

func clerkUser(at string) []Field {
	return []Field{
		{"E-mail", at + "email_addresses[0].email_address"}, {"First name", at + "first_name"},
		{"Last name", at + "last_name"}, {"Username", at + "username"},
	}
}

// Of is the text of the field in a body, "" where there is none.
func (f Field) Of(body []byte) string {
	value := rawjson.Object(body)
	for key := range strings.SplitSeq(f.Path, ".") {
		name, first := strings.CutSuffix(key, "[0]")
		if value = rawjson.Member(value, name); first && rawjson.Kind(value) == '[' {
			list := rawjson.Into(value)
			value, _ = list.Element()
		}
	}
	return rawjson.Text(value)
}

// To is the change that puts a text into the field.
func (f Field) To(text string) Change {
	return Change{f.Path, string(rawjson.Quote(strings.ToValidUTF8(text, "\uFFFD")))}
}
