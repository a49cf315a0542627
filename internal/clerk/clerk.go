// Package clerk asks Clerk's Backend API for users, organisations and memberships: single ones, all of them
// in order, and how many there are. It knows the API's limits and pauses, what can be tried again, and how a
// listing misses nobody while users come and go:
//
//	api := clerk.New(clerk.Config{Key: key})
//	user, err := api.Fetch(ctx, "user_…")  // the user as Clerk's JSON, or clerk.ErrGone
//
// It reads little more than the ids; package source decodes the rest.
package clerk

import (
	"cmp"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

// The numbers of Clerk's Backend API.
const (
	// apiURL is its public address.
	apiURL = "https://api.clerk.com/v1"
	// apiVersion pins the shape of its answers.
	apiVersion = "2025-11-10"
	// apiWindow is the time in which so many requests are allowed: of a production
	// instance, whose keys begin with liveKey, and of one for development.
	apiWindow = 10 * time.Second
	liveLimit = 1000
	devLimit  = 100
	liveKey   = "sk_live_"
	// abreast is how many single rows are asked for at once.
	abreast = 8
)

// Config describes the Backend API of one source.
type Config struct {
	// Key is the secret key. It is sent to URL and nowhere else, and is in no error.
	Key string
	// URL is the base of the API; Clerk's own when empty.
	URL string
	// Client sends the requests, but follows no redirect; one of its own when nil.
	Client *http.Client
	// Log is told when the provider asks to be left alone, and of tries that failed.
	// Nobody is when nil.
	Log *slog.Logger
	// Limit is how many requests in ten seconds the provider allows; what Clerk has
	// published for such a key when 0. Half of them are left to the application.
	Limit int
}

// API is Clerk's Backend API, as one source uses it. It is safe for concurrent use.
//
// Those who wait for an answer use Fetch and its like, which try once. Everything else is patient: it
// keeps to half of the provider's limit, and waits where waiting helps.
type API struct {
	key    string
	url    string
	client *http.Client
	log    *slog.Logger
	pace   *rate.Limiter

	mu    sync.Mutex
	until time.Time // the provider asked to be left alone until then
}

// New builds the client of one source; it asks nothing yet.
func New(cfg Config) *API {
	client := http.Client{Transport: transport()}
	if cfg.Client != nil {
		client = *cfg.Client
	}
	// A redirect would carry the key to another place.
	client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return &API{
		key:    cfg.Key,
		url:    cmp.Or(strings.TrimRight(cfg.URL, "/"), apiURL),
		client: &client,
		log:    cmp.Or(cfg.Log, slog.New(slog.DiscardHandler)),
		pace:   pace(cfg.Limit, cfg.Key),
	}
}

// transport is the usual one with a bound for headers and a connection for each of those
// who ask at once.
func transport() http.RoundTripper {
	usual, ok := http.DefaultTransport.(*http.Transport)
	if !ok {
		return http.DefaultTransport
	}
	own := usual.Clone()
	own.MaxResponseHeaderBytes = 64 << 10
	own.MaxIdleConnsPerHost = abreast
	return own
}

// pace keeps within half of the limit in any window of ten seconds: a bucket lets pass
// what it holds and what flows in meanwhile.
func pace(limit int, key string) *rate.Limiter {
	switch {
	case limit > 0:
	case strings.HasPrefix(key, liveKey):
		limit = liveLimit
	default:
		limit = devLimit
	}
	half := max(limit/2, 2)
	burst := max(half/10, 1)
	return rate.NewLimiter(rate.Limit(float64(half-burst)/apiWindow.Seconds()), burst)
}
