package source

import (
	"strings"
	"testing"

	"rollcall/internal/event"
	"rollcall/internal/must"
)

func TestClerkBodyToStore(t *testing.T) {
	for name, test := range map[string]struct{ in, want string }{
		"none":                         {`,"a":1`, `,"a":1`},
		"null":                         {`,"private_metadata":null,"a":1`, `,"private_metadata":null,"a":1`},
		"empty":                        {`,"private_metadata": { } ,"a":1`, `,"private_metadata": { } ,"a":1`},
		"middle":                       {`,"private_metadata":{"x":"}"},"a":1`, `,"a":1`},
		"last":                         {`,"a":1 , "private_metadata":{"x":1}`, `,"a":1 `},
		"trailing blank":               {`,"a":1,"private_metadata":{"x":1} `, `,"a":1`},
		"only string":                  {`,"private_metadata":"x"`, ``},
		"twice":                        {`,"private_metadata":{},"b":2,"private_metadata":{"x":1},"private_metadata":[]`, `,"private_metadata":{},"b":2`},
		"escaped":                      {`,"private\u005fmetadat\u0061":{"x":1},"a":1`, `,"a":1`},
		"deeper":                       {`,"x":[{"private_metadata":1},{"y":2,"private_metadata":{"x":1}}]`, `,"x":[{},{"y":2}]`},
		"as a value":                   {`,"x":"private_metadata","y":["private_metadata"]`, `,"x":"private_metadata","y":["private_metadata"]`},
		"in metadata":                  {`,"public_metadata":{"private_metadata":{"x":1}}`, `,"public_metadata":{"private_metadata":{"x":1}}`},
		"not the metadata of the user": {`,"x":{"public_metadata":{"private_metadata":{"x":1}}}`, `,"x":{"public_metadata":{}}`},
	} {
		t.Run(name, func(t *testing.T) {
			r := signed(t, clerkSource(t), Hook, clerkEvent(test.in))
			e := clerkSource(t).Decode(r)
			must.Equal(t, string(e.Body), clerkEvent(test.want), "body")
			replay(t, clerkSource(t), e)
		})
	}
}

func TestClerkBodyOutsideTheData(t *testing.T) {
	e := decode(t, clerkSource(t), `{"private_metadata":{"x":1},"type":"user.updated","data":{"id":"user_1"},"more":{"public_metadata":{"private_metadata":1}}}`)
	must.Equal(t, string(e.Body), `{"type":"user.updated","data":{"id":"user_1"},"more":{"public_metadata":{}}}`, "body")
}

func TestDatabaseBodyToStore(t *testing.T) {
	columns := []string{
		"encrypted_password", "confirmation_token", "recovery_token", "email_change_token_new",
		"email_change_token_current", "reauthentication_token", "phone_change_token", "ENCRYPTED_PASSWORD",
		`encrypted\u005fpassword`, "password_hash", "otp_code", "totp_secret", "PassWord",
	}
	record := `{"id":"u1"`
	for _, column := range columns {
		record += `,"` + column + `":"HIDE ME"`
	}
	record += `,"raw_user_meta_data":{"token":"of the client"},"email_change":"new@example.com","deep":[{"password":"HIDE ME"}]}`
	body := `{"type":"UPDATE","schema":"auth","table":"users","record":` + record + `,"old_record":` + record + `}`
	r := signed(t, supabaseSource(t), Database, body)
	e := supabaseSource(t).Decode(r)
	clean := `{"id":"u1","raw_user_meta_data":{"token":"of the client"},"email_change":"new@example.com","deep":[{}]}`
	want := `{"type":"UPDATE","schema":"auth","table":"users","record":` + clean + `,"old_record":` + clean + `}`
	must.Equal(t, string(e.Body), want, "body")
	replay(t, supabaseSource(t), e)
}

func TestUndecodableBodyToStore(t *testing.T) {
	clerk, supabase := clerkSource(t), supabaseSource(t)
	deep := strings.Repeat("[", 300) + `{"private_metadata":"HIDE ME"}` + strings.Repeat("]", 300)
	for name, test := range map[string]struct {
		s        *Source
		d        Endpoint
		in, want string
	}{
		"JSON":             {clerk, Hook, `{"data":{"public_metadata":{"private_metadata":{"a":"HIDE ME"}},"b":1}}`, `{"data":{"public_metadata":{},"b":1}}`},
		"empty":            {clerk, Hook, `{"private_metadata":{}}`, `{}`},
		"array":            {clerk, Hook, `[{"Access_Token":"HIDE ME"},1]`, `[{},1]`},
		"deep":             {clerk, Hook, `{"type":"user.updated","data":{"x":` + deep + `}}`, `{"type":"user.updated","data":{"x":` + strings.ReplaceAll(deep, `"private_metadata":"HIDE ME"`, "") + `}}`},
		"text":             {clerk, Hook, `hello`, `hello`},
		"not UTF-8":        {clerk, Hook, "hell\xff\xfe", "hell\uFFFD\uFFFD"},
		"cut off":          {clerk, Hook, `{"data":{"private_metadata":{"a":"HIDE ME`, ``},
		"cut off, escaped": {clerk, Hook, `{"data":{"private\u005fmetadata":{"a":"HIDE ME`, ``},
		"cut off token":    {supabase, Hook, `{"email_data":{"Token":"HIDE ME`, ``},
		"no name":          {supabase, Hook, `{"metadata":{},"email_data":{"token":"HIDE ME","token_hash":"HIDE ME"},"sms":{"otp":"HIDE ME"}}`, `{"metadata":{},"email_data":{},"sms":{}}`},
		"database":         {supabase, Database, `{"type":"INSERT","schema":"auth","table":"users","record":[{"encrypted_password":"HIDE ME","x":1}]}`, `{"type":"INSERT","schema":"auth","table":"users","record":[{"x":1}]}`},
		"database, text":   {supabase, Database, `hello`, ``},
	} {
		t.Run(name, func(t *testing.T) {
			e := decodeAt(t, test.s, test.d, test.in)
			if e.Op != event.Undecodable {
				t.Fatalf("%s: %s", opNames[e.Op], e.Reason)
			}
			if got := string(e.Body); got != test.want || e.Body != nil && test.want == "" {
				t.Errorf("\n got %s\nwant %s", got, test.want)
			}
		})
	}
}
