package source

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
)

//go:embed samples
var sampleFiles embed.FS

// sampleNames are the built-in events of each provider. In this order they tell the
// story of one made-up user; session.created carries him as user.updated left him.
var sampleNames = map[string][]string{
	Clerk: {"user.created", "user.updated", "session.created", "user.deleted"},
	Supabase: {
		hookBefore, hookAfter, hookToken,
		"database.insert", "database.update", "database.delete",
	},
}

// SampleNames lists the built-in events of a provider, in the order of their story.
func SampleNames(provider string) []string { return slices.Clone(sampleNames[provider]) }

// Sample is a built-in event of a source: what its provider would send about a made-up
// user, to be signed and sent to its door.
type Sample struct {
	Name string
	Door Door
	// body is compact JSON with a word such as "$now" wherever a delivery differs from
	// the next.
	body     string
	instance string
}

// Samples returns the built-in events of the source's provider, in the order of their
// story. Those of Clerk come from the instance that the source listens to.
func (s *Source) Samples() []Sample {
	var all []Sample
	for _, name := range sampleNames[s.provider] {
		sample, _ := s.Sample(name)
		all = append(all, sample)
	}
	return all
}

// Sample returns a built-in event by its name; false when the provider has none.
func (s *Source) Sample(name string) (Sample, bool) {
	if !slices.Contains(sampleNames[s.provider], name) {
		return Sample{}, false
	}
	sample := Sample{Name: name, body: readSample(path.Join("samples", s.provider, name+".json")), instance: s.instanceID}
	if strings.HasPrefix(name, "database.") {
		sample.Door = Database
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

// Body is the event as the provider would send it at a moment: what it dates is of now,
// so it is newer than every earlier body, and a message id in it is a new one. The user
// is the same in all samples of a provider.
func (x Sample) Body(now time.Time) []byte {
	now = now.UTC()
	before := now.Add(-time.Hour) // what a later event says of the sign-up
	number := func(n int64) string { return strconv.FormatInt(n, 10) }
	return []byte(strings.NewReplacer(
		`"$now_millis"`, number(now.UnixMilli()),
		`"$before_millis"`, number(before.UnixMilli()),
		`"$now_seconds"`, number(now.Unix()),
		`"$later_seconds"`, number(now.Add(time.Hour).Unix()),
		`$now_row`, now.Format(rowLayout),
		`$before_row`, before.Format(rowLayout),
		`$now`, now.Format(time.RFC3339Nano),
		`$uuid`, uuid.NewString(),
		`$instance`, x.instance,
	).Replace(x.body))
}

// rowLayout is how PostgreSQL writes a timestamptz into JSON.
const rowLayout = "2006-01-02T15:04:05.999999-07:00"

// DoorFor tells the door at which a body belongs: only a database webhook names a table
// and has no metadata.
func (s *Source) DoorFor(body []byte) Door {
	object := rawjson.Object(rawjson.ToUTF8(body))
	if s.provider == Supabase && rawjson.Member(object, "metadata") == nil && rawjson.Member(object, "table") != nil {
		return Database
	}
	return Hook
}
