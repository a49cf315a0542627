package source

import (
	"strings"
	"testing"
	"time"

	"rollcall/internal/event"
	"rollcall/internal/must"
	"rollcall/internal/testtag"
)

func TestMetadata(t *testing.T) {
	usable := func(in string) string {
		metadata, reason := metadataOf([]byte(in))
		must.Equal(t, reason, "", in)
		return metadata
	}
	must.Table(t, usable, map[string]string{
		`null`: `{}`, `[]`: `{}`, `"x"`: `{}`, `5`: `{}`, ``: `{}`, `{}`: `{}`,
		`{ "a" : [1, 2.50, -0, 1E5], "a": "ü\u00fc\n\\u0000\/" }`: `{ "a" : [1, 2.50, -0, 1E5], "a": "ü\u00fc\n\\u0000\/" }`,
		`{"a":"x\u0000y"}`:                      "{\"a\":\"x\uFFFDy\"}",
		`{"\u0000":{"b\u0000":"\u0000"}}`:       "{\"\uFFFD\":{\"b\uFFFD\":\"\uFFFD\"}}",
		`{"a":"\ud800","b":"ok"}`:               "{\"a\":\"\uFFFD\",\"b\":\"ok\"}",
		`{"a":"\udc00\ud800"}`:                  "{\"a\":\"\uFFFD\uFFFD\"}",
		`{"a":"\ud800\ud83d\ude00"}`:            "{\"a\":\"\uFFFD😀\"}",
		`{"a":"\ud83d\ude00"}`:                  `{"a":"\ud83d\ude00"}`,
		`{"a":"\ud83d\\ude00"}`:                 "{\"a\":\"\uFFFD\\\\ude00\"}",
		`{"a":"\uD83Dx"}`:                       "{\"a\":\"\uFFFDx\"}",
		`{"a":1e131072,"b":[1e-16384],"c":1e5}`: `{"a":"1e131072","b":["1e-16384"],"c":1e5}`,
		`{"a":"\u0000 1e131072"}`:               "{\"a\":\"\uFFFD 1e131072\"}",
	})
}

// What PostgreSQL 15 takes as a number of jsonb and what it refuses.
func TestNumbers(t *testing.T) {
	zeros := func(n int) string { return strings.Repeat("0", n) }
	taken := func(number string) bool {
		quoted, _ := repairNumber([]byte(number))
		return quoted == nil
	}
	must.Table(t, taken, map[string]bool{
		"1e131071": true, "1e131072": false, "-1e131071": true, "-1e131072": false,
		"0e131072": true, "0.0001e131075": true, "0.0001e131076": false,
		"1e-16383": true, "1e-16384": false, "0e-16383": true, "0e-16384": false,
		"12.5e-16382": true, "12.5e-16383": false, "1E+5": true, "-0": true,
		"1." + zeros(16383): true, "1." + zeros(16384): false, "1." + zeros(16384) + "e1": true,
		strings.Repeat("9", 131072): true, strings.Repeat("9", 131073): false,
		"0." + zeros(16000) + "1e20000": true, "1e99999999999": false, "0e99999999999": false,
		"1e99999999999999999999999": false, "1e-99999999999999999999999": false,
	})
}

// Sixteen times the metadata takes sixteen times as long, or so: not its square.
func TestLargeMetadataIsFast(t *testing.T) {
	testtag.Parallel(t)
	entry := `"key \u00e9 %":{"list":[1,2.5,true,null,"text with \"quotes\" and \\"],"n":-1.5e10},`
	quickest := func(size int) time.Duration {
		large := `{` + strings.Repeat(entry, size/len(entry)) + `"last":"\u0000"}`
		body := hookBody(hookAfter, `,"user":{"id":"u1","user_metadata":`+large+`}`)
		best := time.Hour
		for range 3 {
			started := time.Now()
			e := decode(t, supabaseSource(t), body)
			best = min(best, time.Since(started))
			if want := strings.ReplaceAll(large, `\u0000`, "\uFFFD"); e.User == nil || e.User.RawUserMetaData != want {
				t.Errorf("%s, changed elsewhere than in the last value", e.Reason)
			}
		}
		return best
	}
	small, large := quickest(900_000/16), quickest(900_000)
	must.True(t, !testtag.Timing || large <= 4*16*small, "%s for a sixteenth, %s for the whole", small, large)
}

func TestHostileNestingIsFast(t *testing.T) {
	testtag.Parallel(t)
	for _, body := range []string{
		strings.Repeat(`{"data":`, 100_000),
		`{"type":"user.updated","data":` + strings.Repeat(`{"data":`, 9_000) + `1` + strings.Repeat("}", 9_000) + `}`,
		`{"type":"user.updated","data":` + strings.Repeat(`{"data":`, 90_000) + `1` + strings.Repeat("}", 90_000) + `}`,
		`{"type":"user.updated","data":` + strings.Repeat("[", 400_000) + strings.Repeat("]", 400_000) + `}`,
	} {
		started := time.Now()
		e := decode(t, clerkSource(t), body)
		if took := time.Since(started); testtag.Timing && took > time.Second || e.Op != event.Undecodable {
			t.Errorf("%.40s…: %s, took %s", body, opNames[e.Op], took)
		}
	}
}
