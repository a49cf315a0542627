package load

import (
	"bufio"
	"errors"
	"io"
	"strings"
	"testing"
)

func TestReadAnswer(t *testing.T) {
	t.Parallel()
	const next = "HTTP/1.1 200 OK\r\nRollcall-Outcome: duplicate\r\nContent-Length: 0\r\n\r\n"
	for _, tt := range []struct {
		name, text string
		outcome    string
		last       bool
		err        string
	}{
		{"empty", "HTTP/1.1 204 No Content\r\nRollcall-Outcome: applied\r\n\r\n" + next, "applied", false, ""},
		{"any case", "HTTP/1.1 204 No Content\r\nrollcall-outcome:parked\r\n\r\n" + next, "parked", false, ""},
		{"a body", "HTTP/1.1 503 Service Unavailable\r\nRetry-After: 1\r\nRollcall-Outcome: unavailable\r\nContent-Length: 7\r\n\r\n{\"a\":1}" + next, "unavailable", false, ""},
		{"chunked", "HTTP/1.1 200 OK\r\nRollcall-Outcome: ignored\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n" + next, "ignored", false, ""},
		{"closing", "HTTP/1.1 503 Service Unavailable\r\nConnection: close\r\nRetry-After: 1\r\nContent-Length: 2\r\n\r\nno", "unavailable", true, ""},
		{"until closed", "HTTP/1.0 502 Bad Gateway\r\n\r\nsorry", "http_502", true, ""},
		{"no promise", "HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n" + next, "http_503", false, ""},
		{"announced", "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 204 No Content\r\nRollcall-Outcome: stale\r\n\r\n" + next, "stale", false, ""},
		{"of a stranger", "HTTP/1.1 200 OK\r\nRollcall-Outcome: won\r\nContent-Length: 0\r\n\r\n" + next, "http_200", false, ""},
		{"with controls", "HTTP/1.1 200 OK\r\nRollcall-Outcome: \x1b[2J\r\nContent-Length: 0\r\n\r\n", "", true, "malformed"},
		{"cut off", "HTTP/1.1 204 No Con", "", true, "cut_off"},
		{"cut off in its body", "HTTP/1.1 503 Service Unavailable\r\nContent-Length: 20\r\n\r\nno", "", true, "cut_off"},
		{"cut off in a chunk", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n9\r\nabc", "", true, "cut_off"},
		{"nothing", "", "", true, "cut_off"},
		{"no HTTP", "SSH-2.0-OpenSSH_9.6\r\n\r\n", "", true, "malformed"},
		{"a broken chunk", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n", "", true, "malformed"},
		{"endless", "HTTP/1.1 200 OK\r\n\r\n" + strings.Repeat("x", answerLimit+10), "http_200", true, ""},
	} {
		reader := bufio.NewReader(strings.NewReader(tt.text))
		a, last, err := readAnswer(reader)
		if kind := errorKindOrNone(err); kind != tt.err || last != tt.last {
			t.Errorf("%s: error %v (%s), last %v", tt.name, err, kind, last)
			continue
		}
		if err == nil && a.name() != tt.outcome {
			t.Errorf("%s: got %s, want %s", tt.name, a.name(), tt.outcome)
		}
		if err != nil || last {
			continue
		}
		if a, _, err = readAnswer(reader); err != nil || a.name() != "duplicate" {
			t.Errorf("%s: the next answer is %v, error %v", tt.name, a, err)
		}
		if _, err := reader.ReadByte(); !errors.Is(err, io.EOF) {
			t.Errorf("%s: something is left", tt.name)
		}
	}
}

func errorKindOrNone(err error) string {
	if err == nil {
		return ""
	}
	return errorKind(err)
}
