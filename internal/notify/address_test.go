package notify

import (
	"context"
	"encoding/binary"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"testing"

	"rollcall/internal/must"
)

func TestIsPublic(t *testing.T) {
	t.Parallel()
	must.Table(t, func(a string) bool { return isPublic(netip.MustParseAddr(a)) }, map[string]bool{
		"93.184.216.34": true, "2606:2800:220:1:248:1893:25c8:1946": true, "8.8.8.8": true, "172.32.0.1": true,
		"127.0.0.1": false, "10.0.0.1": false, "172.16.0.1": false, "192.168.1.1": false, "169.254.169.254": false,
		"0.0.0.0": false, "0.1.2.3": false, "100.64.0.1": false, "192.0.0.1": false, "198.18.0.1": false,
		"224.0.0.1": false, "255.255.255.255": false, "240.0.0.1": false,
		"::1": false, "::": false, "fe80::1": false, "fd00::1": false, "fec0::1": false, "ff02::1": false,
		"2001:db8::1": false, "2002:7f00:1::": false, "::ffff:127.0.0.1": false, "::ffff:93.184.216.34": true,
		"64:ff9b::7f00:1": false, "2001:0:1::1": false, "fd00:ec2::254": false,
	})
}

// nameServer answers that any name has an address.
func nameServer(t *testing.T, address netip.Addr) *net.Resolver {
	t.Helper()
	server := must.Get((&net.ListenConfig{}).ListenPacket(t.Context(), "udp", "127.0.0.1:0"))(t)
	t.Cleanup(func() { _ = server.Close() })
	go func() {
		for buffer := make([]byte, 512); ; {
			n, from, err := server.ReadFrom(buffer)
			if err != nil {
				return
			}
			_, _ = server.WriteTo(nameAnswer(buffer[:n], address), from)
		}
	}()
	return &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "udp", server.LocalAddr().String())
	}}
}

// nameAnswer is what a name server answers to a question of one name (RFC 1035).
func nameAnswer(question []byte, address netip.Addr) []byte {
	end := 12
	for question[end] != 0 {
		end += int(question[end]) + 1
	}
	end += 5 // the root, type and class
	answer := append([]byte{}, question[:end]...)
	copy(answer[2:12], []byte{0x81, 0x80, 0, 1, 0, 0, 0, 0, 0, 0})
	if binary.BigEndian.Uint16(question[end-4:]) == 1 { // of IPv4
		answer[7] = 1
		answer = append(answer, 0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 0, 0, 4)
		answer = append(answer, address.AsSlice()...)
	}
	return answer
}

// It is the address that is connected to that counts: whatever a name said before, and however it is written.
func TestPrivateAddressesAreNotConnectedTo(t *testing.T) {
	t.Parallel()
	r := newReceiver(t, func(http.ResponseWriter, *http.Request) {})
	port := r.URL[strings.LastIndex(r.URL, ":"):]
	names := nameServer(t, netip.MustParseAddr("127.0.0.1"))
	for _, host := range []string{"rebind.example.com", "127.0.0.1", "[::ffff:127.0.0.1]", "0.0.0.0", "[::1]", "169.254.169.254"} {
		e := must.Get(newEndpoint(Config{URL: "http://" + host + port, Secrets: []string{newSecret}, resolver: names}))(t)
		must.Fail(t, e.attempt(t.Context(), "msg_1", []byte("{}")).err, errNotPublic)
	}
	must.Equal(t, len(r.got), 0, "requests")
	e := must.Get(newEndpoint(Config{URL: "http://rebind.example.com" + port, Secrets: []string{newSecret}, AllowPrivate: true, resolver: names}))(t)
	must.Equal(t, e.attempt(t.Context(), "msg_1", []byte("{}")).status, 200)
	must.Equal(t, len(r.got), 1, "requests")
}
