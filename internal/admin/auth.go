package admin

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

// Token opens the admin API for its holder.
type Token struct{ Holder, Token string }

// An address that shows wrong tokens has guesses of them at once, and another one each guessPause. The tokens have
// 16 characters at least, so that this is far from finding one.
const (
	guesses    = 10
	guessPause = 10 * time.Second
	// maxGuessers bounds the memory: of more addresses than these, the oldest entries are forgotten all at once.
	maxGuessers = 4096
)

// Guard tells who shows a token: to the API, and when signing in to the console.
type Guard struct {
	mu       sync.Mutex
	tokens   []Token
	hashes   [][sha256.Size]byte
	guessers map[string]*rate.Limiter // by address, of those that have shown a wrong token
}

// NewGuard makes the guard of some tokens, of which a process has one.
func NewGuard(tokens []Token) *Guard {
	g := &Guard{guessers: map[string]*rate.Limiter{}}
	g.Set(tokens)
	return g
}

// Set exchanges the tokens.
func (g *Guard) Set(tokens []Token) {
	var hashes [][sha256.Size]byte
	for _, t := range tokens {
		hashes = append(hashes, sha256.Sum256([]byte(t.Token)))
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.tokens, g.hashes = tokens, hashes
}

// Tokens are those that open something, for signing with them.
func (g *Guard) Tokens() []Token {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.tokens
}

// holder is who holds a token, "" for nobody. All tokens are compared, each in constant time.
func (g *Guard) holder(token string) (name string) {
	got := sha256.Sum256([]byte(token))
	for i, want := range g.hashes {
		if subtle.ConstantTimeCompare(got[:], want[:]) == 1 {
			name = g.tokens[i].Holder
		}
	}
	return name
}

// Check says who shows a token at a remote address (host:port); "" for nobody. For as long as wait says, an address
// that has guessed too often is not listened to.
func (g *Guard) Check(remote, token string) (holder string, wait time.Duration) {
	address, _, err := net.SplitHostPort(remote)
	if err != nil {
		address = remote
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	l := g.guessers[address]
	if l != nil && l.Tokens() < 1 {
		return "", guessPause
	}
	if holder = g.holder(token); holder != "" {
		return holder, 0
	}
	if l == nil {
		if len(g.guessers) >= maxGuessers {
			clear(g.guessers)
		}
		l = rate.NewLimiter(rate.Every(guessPause), guesses)
		g.guessers[address] = l
	}
	l.Allow()
	return "", 0
}

type holderKey struct{}

// holder is who has sent a request.
func holder(ctx context.Context) string {
	name, _ := ctx.Value(holderKey{}).(string)
	return name
}

// authenticate lets through who shows a token.
func (a *Admin) authenticate(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if len(a.guard.Tokens()) == 0 {
			a.problem(w, r, problem{http.StatusNotFound, "the admin API is closed: the configuration has no admin_token and no admin_tokens", ""})
			return
		}
		name, wait := a.guard.Check(r.RemoteAddr, bearer(r))
		switch {
		case wait > 0:
			a.problem(w, r, problem{http.StatusTooManyRequests, "too many wrong tokens from this address; wait for some seconds", "too many wrong admin tokens"})
		case name == "":
			w.Header().Set("WWW-Authenticate", "Bearer")
			a.problem(w, r, problem{http.StatusUnauthorized, "send Authorization: Bearer with a token of the configuration (admin_token or admin_tokens)", "the admin token is missing or wrong"})
		default:
			next.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), holderKey{}, name)))
		}
	})
}

func bearer(r *http.Request) string {
	scheme, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	if !strings.EqualFold(scheme, "Bearer") {
		return ""
	}
	return token
}
