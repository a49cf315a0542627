package load

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"net/url"
)

// Receiver is the installation that requests go to.
type Receiver struct {
	url       *url.URL
	addresses []string // host:port, looked up once
	local     bool
}

// Resolve finds the addresses behind a base URL, http or https.
func Resolve(ctx context.Context, base string) (Receiver, error) {
	u, err := url.Parse(base)
	if err != nil {
		return Receiver{}, err
	}
	found, err := net.DefaultResolver.LookupNetIP(ctx, "ip", u.Hostname())
	if err != nil {
		return Receiver{}, fmt.Errorf("find the host of %s: %w", base, err)
	}
	port := u.Port()
	if port == "" {
		port = map[string]string{"http": "80", "https": "443"}[u.Scheme]
	}
	r := Receiver{url: u, local: allLoopback(found)}
	for _, address := range found {
		r.addresses = append(r.addresses, net.JoinHostPort(address.Unmap().String(), port))
	}
	return r, nil
}

// Local reports whether every address is one of this machine's loopback. Requests go to
// those addresses, whatever the name means later.
func (r Receiver) Local() bool { return r.local }

func allLoopback(found []netip.Addr) bool {
	for _, address := range found {
		if !address.IsLoopback() {
			return false
		}
	}
	return len(found) > 0
}
