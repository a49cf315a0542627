package load

import (
	"testing"
	"time"
)

// What making and signing a request costs, which the sender does for each.
func BenchmarkSeal(b *testing.B) {
	s, err := newSealer(Config{To: receiver(b, "http://127.0.0.1:8080"), Source: clerk(b), Mix: DefaultMix, Connections: 64})
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if _, err := s.next(time.Now()); err != nil {
			b.Fatal(err)
		}
	}
}
