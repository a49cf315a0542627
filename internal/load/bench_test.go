package load

import (
	"testing"
	"time"

	"rollcall/internal/must"
)

// What making and signing a request costs, which the sender does for each.
func BenchmarkSeal(b *testing.B) {
	s := must.Get(newSealer(Config{To: receiver(b, "http://127.0.0.1:8080"), Source: clerk(b), Mix: DefaultMix, Connections: 64}))(b)
	for b.Loop() {
		must.Get(s.next(time.Now()))(b)
	}
}
