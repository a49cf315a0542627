package console

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

const (
	cookieName = "rollcall_session"
	// sessionAge is for how long signing in holds.
	sessionAge = 12 * time.Hour
)

// session is who is signed in. It lives in a cookie that any replica accepts: holder, end and a MAC that the holder's
// token makes. A token that is taken out of the configuration ends its sessions.
type session struct {
	Holder string
	End    time.Time
	Form   string // the secret of the session's forms
}

func mac(token, purpose, text string) string {
	m := hmac.New(sha256.New, []byte(token))
	m.Write([]byte("rollcall console " + purpose + "\n" + text))
	return base64.RawURLEncoding.EncodeToString(m.Sum(nil))
}

// newSession is that of a holder from now on, with the value of its cookie.
func (c *Console) newSession(holder string, now time.Time) (*session, string) {
	for _, t := range c.config.Guard.Tokens() {
		if t.Holder == holder {
			end := now.Add(sessionAge).Truncate(time.Second)
			said := fmt.Sprintf("%s.%d", holder, end.Unix())
			return &session{holder, end, mac(t.Token, "form", said)}, said + "." + mac(t.Token, "session", said)
		}
	}
	return nil, ""
}

// readSession is that of a cookie, nil if the cookie is no good.
func (c *Console) readSession(cookie string, now time.Time) *session {
	parts := strings.Split(cookie, ".")
	if len(parts) != 3 {
		return nil
	}
	unix, err := strconv.ParseInt(parts[1], 10, 64)
	end := time.Unix(unix, 0)
	if err != nil || !now.Before(end) {
		return nil
	}
	said := parts[0] + "." + parts[1]
	for _, t := range c.config.Guard.Tokens() {
		if t.Holder == parts[0] && same(parts[2], mac(t.Token, "session", said)) {
			return &session{t.Holder, end, mac(t.Token, "form", said)}
		}
	}
	return nil
}

func same(a, b string) bool { return subtle.ConstantTimeCompare([]byte(a), []byte(b)) == 1 }

type sessionKey struct{}

func sessionOf(ctx context.Context) *session {
	s, _ := ctx.Value(sessionKey{}).(*session)
	return s
}

// signedIn lets through who is signed in, and of their changes only those whose form is the session's own.
func (c *Console) signedIn(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var s *session
		if cookie, err := r.Cookie(cookieName); err == nil {
			s = c.readSession(cookie.Value, time.Now())
		}
		if s == nil {
			to := url.Values{"to": {r.URL.RequestURI()}}
			if r.Method != http.MethodGet {
				to = nil
			}
			http.Redirect(w, r, "/signin?"+to.Encode(), http.StatusSeeOther)
			return
		}
		r = r.WithContext(context.WithValue(r.Context(), sessionKey{}, s))
		r.Body = http.MaxBytesReader(w, r.Body, maxForm)
		if r.Method != http.MethodGet && r.Method != http.MethodHead && !same(r.PostFormValue("form"), s.Form) {
			c.fail(w, r, http.StatusForbidden, "This form is not of your session, or the session has ended. Go back, load the page again, and repeat it.")
			return
		}
		next.ServeHTTP(w, r)
	})
}

// maxForm is the size of a form at most, in bytes.
const maxForm = 256 << 10

// checkHost refuses requests to other names, which a page of another site may have brought here (DNS rebinding).
func (c *Console) checkHost(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		host := r.Host
		if name, _, err := net.SplitHostPort(host); err == nil {
			host = name
		}
		host = strings.ToLower(strings.Trim(host, "[]"))
		_, err := netip.ParseAddr(host)
		if err == nil || host == "localhost" || slices.Contains(c.config.Hosts(), host) {
			next.ServeHTTP(w, r)
			return
		}
		http.Error(w, "the console is not reached by this name; add it to admin_hosts of the configuration", http.StatusMisdirectedRequest)
	})
}

// signInData is what the page of signing in shows.
type signInData struct {
	Closed bool // there is no token
	To     string
	Wrong  string
}

func (c *Console) signInPage(w http.ResponseWriter, r *http.Request) {
	status := http.StatusOK
	if len(c.config.Guard.Tokens()) == 0 {
		status = http.StatusServiceUnavailable
	}
	c.write(w, r, "signin", view{Title: "Sign in", Status: status, Data: signInData{Closed: len(c.config.Guard.Tokens()) == 0, To: local(r.FormValue("to"))}})
}

func (c *Console) signIn(w http.ResponseWriter, r *http.Request) {
	r.Body = http.MaxBytesReader(w, r.Body, maxForm)
	to := local(r.PostFormValue("to"))
	holder, wait := c.config.Guard.Check(r.RemoteAddr, r.PostFormValue("token"))
	switch {
	case wait > 0:
		c.write(w, r, "signin", view{Title: "Sign in", Status: http.StatusTooManyRequests, Data: signInData{To: to, Wrong: "Too many wrong tokens came from this address. Wait for some seconds."}})
	case holder == "":
		c.config.Log.Warn("signing in to the console refused", "reason", "the admin token is missing or wrong")
		c.write(w, r, "signin", view{Title: "Sign in", Status: http.StatusUnauthorized, Data: signInData{To: to, Wrong: "This is none of the admin tokens of the configuration."}})
	default:
		s, value := c.newSession(holder, time.Now())
		http.SetCookie(w, &http.Cookie{ //nolint:gosec // Secure where there is TLS: on 127.0.0.1 there is none
			Name: cookieName, Value: value, Path: "/", Expires: s.End, HttpOnly: true, SameSite: http.SameSiteStrictMode, Secure: r.TLS != nil,
		})
		http.Redirect(w, r, to, http.StatusSeeOther) //nolint:gosec // local has seen to it
	}
}

func (c *Console) signOut(w http.ResponseWriter, r *http.Request) {
	http.SetCookie(w, &http.Cookie{Name: cookieName, Path: "/", MaxAge: -1, HttpOnly: true, SameSite: http.SameSiteStrictMode}) //nolint:gosec // as above
	http.Redirect(w, r, "/signin", http.StatusSeeOther)
}

// local is a path of the console, "/" for anything else.
func local(to string) string {
	u, err := url.Parse(to)
	if err != nil || u.IsAbs() || u.Host != "" || !strings.HasPrefix(to, "/") || strings.HasPrefix(to, "//") || strings.Contains(to, `\`) {
		return "/"
	}
	return u.RequestURI()
}
