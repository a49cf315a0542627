package testevent

import (
	"testing"
	"time"

	"rollcall/internal/must"
	"rollcall/internal/source"
)

// What a form offers is in the body, and can be changed there.
func TestFields(t *testing.T) {
	t.Parallel()
	offered := 0
	for _, s := range []*source.Source{clerkSource(t), supabaseSource(t)} {
		for _, sample := range samplesOf(s) {
			body := sample.Body(time.Now())
			for _, f := range sample.Fields(s) {
				offered++
				must.True(t, f.Of(body) != "", "%s has no %s at %s", sample.Name, f.Name, f.Path)
				changed := must.Get(Apply(body, []Change{f.To("a \"text\"\x00\xff")}))(t)
				must.Equal(t, f.Of(changed), "a \"text\"\uFFFD\uFFFD", sample.Name, ": ", f.Name)
			}
		}
	}
	must.Equal(t, offered, 26, "fields of all samples")
}
