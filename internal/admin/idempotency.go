package admin

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"io"
	"net/http"

	"rollcall/internal/postgres/claims"
)

const (
	// maxKey is the length of an Idempotency-Key at most, in bytes.
	maxKey = 255
	// maxRequest is the size of a request's body at most, in bytes.
	maxRequest = 1 << 20
)

// once answers a change that comes again with the same Idempotency-Key as it was answered the first time, without
// doing it again. An answer of 500 and above is not kept: the change may be tried again.
func (a *Admin) once(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		key := r.Header.Get("Idempotency-Key")
		if r.Method == http.MethodGet || r.Method == http.MethodHead || key == "" {
			next.ServeHTTP(w, r)
			return
		}
		body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxRequest))
		switch {
		case len(key) > maxKey:
			a.problem(w, r, problem{http.StatusBadRequest, "the Idempotency-Key is longer than 255 bytes; send a shorter one, such as a UUID", "a long Idempotency-Key"})
			return
		case err != nil:
			a.problem(w, r, problem{http.StatusRequestEntityTooLarge, "the body can't be read, or is larger than 1 MiB", "a body that is too large"})
			return
		}
		r.Body = io.NopCloser(bytes.NewReader(body))
		hash := sha256.New()
		_, _ = io.WriteString(hash, r.Method+" "+r.URL.RequestURI()+"\n") // never fails
		hash.Write(body)
		a.answerOnce(w, r, next, claim{key, hash.Sum(nil)})
	})
}

// claim is a key with a SHA-256 of its request.
type claim struct {
	key     string
	request []byte
}

// answerOnce claims the key and answers, or gives the answer that is kept.
func (a *Admin) answerOnce(w http.ResponseWriter, r *http.Request, next http.Handler, c claim) {
	kept, err := a.operator.Claims.Claim(r.Context(), claims.Change{Holder: holder(r.Context()), Key: c.key}, c.request)
	switch {
	case err != nil:
		a.operator.Log.Warn("an Idempotency-Key can't be looked up", "error", err)
		a.problem(w, r, problem{http.StatusServiceUnavailable, "the database does not answer; try again", ""})
	case kept == nil:
		a.record(w, r, next, c.key)
	case !bytes.Equal(kept.Request, c.request):
		a.problem(w, r, problem{http.StatusUnprocessableEntity, "this Idempotency-Key was sent with another request; send a new key with each change", "an Idempotency-Key of another request"})
	case kept.Status == nil:
		a.problem(w, r, problem{http.StatusConflict, "the first request with this Idempotency-Key is still under way; try again when it has ended", ""})
	default:
		w.Header().Set("Content-Type", kept.Type)
		w.WriteHeader(*kept.Status)
		_, _ = w.Write(kept.Body) // a client who left has no use for it
	}
}

// record answers a request and keeps the answer, also that of one whose client has left.
func (a *Admin) record(w http.ResponseWriter, r *http.Request, next http.Handler, key string) {
	recorded := &recorder{ResponseWriter: w}
	defer func() {
		a.operator.Claims.Keep(r.Context(), claims.Change{Holder: holder(r.Context()), Key: key},
			claims.Answer{Status: new(cmp.Or(recorded.status, http.StatusInternalServerError)), Type: recorded.Header().Get("Content-Type"), Body: recorded.body.Bytes()})
	}()
	next.ServeHTTP(recorded, r)
}

// recorder keeps a copy of what is answered.
type recorder struct {
	http.ResponseWriter
	status int // 0 before the answer, and when the handler panics instead
	body   bytes.Buffer
}

// WriteHeader implements http.ResponseWriter.
func (r *recorder) WriteHeader(status int) {
	r.status = status
	r.ResponseWriter.WriteHeader(status)
}

// Write implements http.ResponseWriter.
func (r *recorder) Write(p []byte) (int, error) {
	r.status = cmp.Or(r.status, http.StatusOK)
	r.body.Write(p)
	return r.ResponseWriter.Write(p)
}

// Unwrap lets http.ResponseController reach the connection.
func (r *recorder) Unwrap() http.ResponseWriter { return r.ResponseWriter }
