// Package testevent makes signed events as the providers would send them: built-in ones that tell the story
// of a made-up user, those of a file, or many of one kind at little cost. It posts them, too, or says with
// which command another machine does:
//
//	sample, _ := testevent.Find(src, "user.created")
//	request, err := testevent.Seal(src, sample.Endpoint, sample.Body(time.Now()))
//	answer, err := testevent.NewSender("http://127.0.0.1:8080").Post(ctx, request)
//
// The signature itself is made by package source, which keeps the secrets.
package testevent

import (
	"bytes"
	"embed"
	"encoding/json"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"

	"rollcall/internal/rawjson"
	"rollcall/internal/source"
)

//go:embed samples
var sampleFiles embed.FS

// sampleNames are the built-in events of each provider. In this order they tell the
// story of one made-up user and, at Clerk, of their team; session.created carries the user as user.updated left
// it. A membership is dated anew in each event: so it can end and begin again.
var sampleNames = map[string][]string{
	source.Clerk: {
		"user.created", "user.updated", "session.created",
		"organization.created", "organizationMembership.created", "organizationMembership.updated",
		"organization.updated", "organizationMembership.deleted", "organization.deleted", "user.deleted",
	},
	source.Supabase: {
		"before-user-created", "after-user-created", "customize-access-token",
		"database.insert", "database.update", "database.delete",
	},
}

// Names returns the names of a provider's built-in events, in the order of their story.
func Names(provider string) []string { return slices.Clone(sampleNames[provider]) }

// Sample is a built-in event of a source: what its provider would send about a made-up
// user, to be signed and sent to its endpoint.
type Sample struct {
	Name     string
	Endpoint source.Endpoint
	// body is compact JSON with a word such as "$now" wherever a delivery differs from
	// the next.
	body     string
	instance string
}

// Find returns a built-in event of a source's provider by its name; false when the provider has
// none. One of Clerk comes from the instance that the source listens to.
func Find(src *source.Source, name string) (Sample, bool) {
	if !slices.Contains(sampleNames[src.Provider()], name) {
		return Sample{}, false
	}
	file := path.Join("samples", src.Provider(), name+".json")
	sample := Sample{Name: name, body: readSample(file), instance: src.InstanceID()}
	if strings.HasPrefix(name, "database.") {
		sample.Endpoint = source.Database
	}
	if sample.instance == "" {
		sample.instance = "ins_2RollcallSample000000000000000"
	}
	return sample, true
}

// readSample reads an embedded file, which a test has read before.
func readSample(file string) string {
	text, err := sampleFiles.ReadFile(file)
	if err != nil {
		panic(err)
	}
	var compact bytes.Buffer
	if err := json.Compact(&compact, text); err != nil {
		panic(err)
	}
	return compact.String()
}

// Body returns the event as the provider would send it at a moment. Its times are of now, so it is newer than every
// earlier body, and a message id in it is a new one. All samples of a provider are about the same user.
func (x Sample) Body(now time.Time) []byte {
	replaced := []string{`$instance`, x.instance}
	for _, w := range words {
		replaced = append(replaced, w.text, string(w.write(nil, now.UTC())))
	}
	return []byte(strings.NewReplacer(replaced...).Replace(x.body))
}

// rowLayout is how PostgreSQL writes a timestamptz into JSON.
const rowLayout = "2006-01-02T15:04:05.999999-07:00"

// words stand in the samples for what differs from one delivery to the next. The moment before is what a
// later event says of the sign-up, the later one is when a token expires.
var words = []struct {
	text  string
	write func(to []byte, now time.Time) []byte
}{
	{`"$now_millis"`, number(time.Time.UnixMilli, 0)}, {`"$before_millis"`, number(time.Time.UnixMilli, -time.Hour)},
	{`"$now_seconds"`, number(time.Time.Unix, 0)}, {`"$later_seconds"`, number(time.Time.Unix, time.Hour)},
	{`$now_row`, date(rowLayout, 0)}, {`$before_row`, date(rowLayout, -time.Hour)}, {`$now`, date(time.RFC3339Nano, 0)},
	{`$uuid`, func(to []byte, _ time.Time) []byte { return append(to, uuid.NewString()...) }},
}

func number(of func(time.Time) int64, later time.Duration) func([]byte, time.Time) []byte {
	return func(to []byte, now time.Time) []byte { return strconv.AppendInt(to, of(now.Add(later)), 10) }
}

func date(layout string, later time.Duration) func([]byte, time.Time) []byte {
	return func(to []byte, now time.Time) []byte { return now.Add(later).AppendFormat(to, layout) }
}

// endpointFor tells the endpoint at which a body belongs: only a database webhook names a table
// and has no metadata.
func endpointFor(src *source.Source, body []byte) source.Endpoint {
	object := rawjson.Object(rawjson.ToUTF8(body))
	if src.Provider() == source.Supabase &&
		rawjson.Member(object, "metadata") == nil && rawjson.Member(object, "table") != nil {
		return source.Database
	}
	return source.Hook
}
