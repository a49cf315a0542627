package session

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"rollcall/internal/must"
)

// hostile is one change to a token that is believed without it, and why that is refused.
type hostile struct {
	name string
	from func(*world) draft
	// change alters the draft before it is signed, spoil the written token after.
	change func(*draft)
	spoil  func(string) string
	why    string
}

const (
	whyAlgorithm = "signed with an algorithm that is not allowed"
	whySignature = "its signature is wrong"
	whyKey       = "signed with a key that its source does not publish"
	whyParts     = "not three parts between dots"
	whyForm      = "not in base64url"
	whyHeader    = "its header can't be read"
	whyClaims    = "its claims are not of their types"
	whyUnread    = "its header or its claims can't be read"
	whyIssuer    = "no source has this issuer"
	whySubject   = "its subject (sub) is no user's id"
	whyMoment    = "one of its times can't be read"
	whyAudience  = "its audience (aud) is not the configured one"
)

// hmacWith is the old trick: the public key, which is published, as a secret.
func hmacWith(secret []byte) func(*draft) {
	return both(header("alg", "HS256"), signedBy(signHMAC(string(secret))))
}

func spki(key *rsa.PublicKey) []byte {
	return sure(x509.MarshalPKIXPublicKey(key))
}

func jwkOf(key crypto.Signer) []byte {
	return sure(json.Marshal(public("ins_1", key)))
}

func certificate(key *rsa.PrivateKey) string {
	form := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "clerk.example.com"}, NotAfter: time.Now().Add(time.Hour)}
	return base64.StdEncoding.EncodeToString(sure(x509.CreateCertificate(rand.Reader, form, form, key.Public(), key)))
}

func fixed(signature string) func(string) []byte {
	return func(string) []byte { return []byte(signature) }
}

func part(n int, change func(string) string) func(string) string {
	return func(token string) string {
		parts := strings.Split(token, ".")
		parts[n] = change(parts[n])
		return strings.Join(parts, ".")
	}
}

func instead(text string) func(string) string { return func(string) string { return text } }

func inserted(text string, after int) func(string) string {
	return func(token string) string { return token[:after] + text + token[after:] }
}

// asJSON is the flattened JSON serialization of the same signature.
func asJSON(token string) string {
	parts := strings.Split(token, ".")
	return `{"protected":"` + parts[0] + `","payload":"` + parts[1] + `","signature":"` + parts[2] + `"}`
}

// promoted changes the payload and keeps the signature.
func promoted(encoded string) string {
	payload := sure(base64.RawURLEncoding.DecodeString(encoded))
	return b64(strings.Replace(string(payload), clerkUser, "user_2abcOther", 1))
}

// hostiles lists what is refused; attacker is a server that must not be asked.
func hostiles(attacker string) []hostile {
	return append(append(hostileKeys(attacker), hostileClaims()...), hostileForms()...)
}

func hostileKeys(attacker string) []hostile {
	clerk, ec, hmac := (*world).clerkDraft, (*world).supabaseDraft, (*world).supabaseHMAC
	pub := &clerkKey().PublicKey
	own := signedBy(signRSA(foreignKey()))
	of512, pss := signWith(clerkKey(), crypto.SHA512), signWith(clerkKey(), &rsa.PSSOptions{Hash: crypto.SHA256})
	block := pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: spki(pub)})
	pkcs1 := x509.MarshalPKCS1PublicKey(pub)
	secretPEM := pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: spki(&supabaseKey().PublicKey)})
	return []hostile{
		{"none", clerk, both(header("alg", "none"), signedBy(fixed("x"))), nil, whyAlgorithm},
		{"None", clerk, both(header("alg", "None"), signedBy(fixed("x"))), nil, whyAlgorithm},
		{"nOnE", clerk, both(header("alg", "nOnE"), signedBy(fixed("x"))), nil, whyAlgorithm},
		{"none without a signature", clerk, both(header("alg", "none"), signedBy(fixed(""))), nil, whyParts},
		{"alg missing", clerk, without("alg"), nil, whyAlgorithm},
		{"alg empty", clerk, header("alg", ""), nil, whyAlgorithm},
		{"alg a list", clerk, header("alg", []string{"RS256"}), nil, whyAlgorithm},
		{"alg in lower case", clerk, header("alg", "rs256"), nil, whyAlgorithm},
		{"HS256 with the PEM", clerk, hmacWith(block), nil, whyAlgorithm},
		{"HS256 with the trimmed PEM", clerk, hmacWith([]byte(strings.TrimSpace(string(block)))), nil, whyAlgorithm},
		{"HS256 with the DER", clerk, hmacWith(spki(pub)), nil, whyAlgorithm},
		{"HS256 with the PKCS#1 DER", clerk, hmacWith(pkcs1), nil, whyAlgorithm},
		{"HS256 with the JWK", clerk, hmacWith(jwkOf(clerkKey())), nil, whyAlgorithm},
		{"HS256 with the modulus", clerk, hmacWith(pub.N.Bytes()), nil, whyAlgorithm},
		{"HS256 with an empty secret", clerk, hmacWith(nil), nil, whyAlgorithm},
		{"HS256 with Supabase's PEM", (*world).supabaseRSA, hmacWith(secretPEM), nil, whySignature},
		{"HS256 with Supabase's modulus", (*world).supabaseRSA, hmacWith(supabaseKey().N.Bytes()), nil, whySignature},
		{"HS256 with Supabase's EC key", ec, hmacWith(jwkOf(curveKey())), nil, whySignature},
		{"HS256 with an empty secret at Supabase", hmac, signedBy(signHMAC("")), nil, whySignature},
		{"HS256 with another secret", hmac, signedBy(signHMAC(jwtSecret + "x")), nil, whySignature},
		{"HS384 of the secret", hmac, header("alg", "HS384"), nil, whyAlgorithm},
		{"PS256 of the right key", clerk, both(header("alg", "PS256"), signedBy(pss)), nil, whyAlgorithm},
		{"PSS under the name RS256", clerk, signedBy(pss), nil, whySignature},
		{"RS512 of the right key", clerk, both(header("alg", "RS512"), signedBy(of512)), nil, whyAlgorithm},
		{"ES256 at Clerk", clerk, both(header("alg", "ES256"), signedBy(signEC(curveKey()))), nil, whyAlgorithm},
		{"RS256 with the id of an EC key", (*world).supabaseRSA, header("kid", "ec-1"), nil, whyKey},
		{"ES256 with the id of an RSA key", ec, header("kid", "rsa-1"), nil, whyKey},
		{"a foreign key with the same id", clerk, own, nil, whySignature},
		{"a foreign key with its own id", clerk, both(header("kid", "ins_2"), own), nil, whyKey},
		{"the id of the other source's key", ec, header("kid", "ins_1"), nil, whyKey},
		{"signed with the other source's key", clerk, signedBy(signRSA(supabaseKey())), nil, whySignature},
		{"the other source's issuer", clerk, claim("iss", supabaseIssuer), nil, whyKey},
		{"kid missing", clerk, without("kid"), nil, "it doesn't name its key (kid)"},
		{"kid empty", clerk, header("kid", ""), nil, "it doesn't name its key (kid)"},
		{"kid a number", clerk, header("kid", 1), nil, whyUnread},
		{"kid a path", clerk, header("kid", "../../dev/null"), nil, whyKey},
		{"jku to the attacker", clerk, both(header("jku", attacker), own), nil, "its header has jku"},
		{"jku with the right key", clerk, header("jku", attacker), nil, "its header has jku"},
		{"x5u to the attacker", clerk, both(header("x5u", attacker), own), nil, "its header has x5u"},
		{"x5u with the right key", clerk, header("x5u", attacker), nil, "its header has x5u"},
		{"jwk of the attacker", clerk, both(header("jwk", json.RawMessage(jwkOf(foreignKey()))), own), nil, "its header has jwk"},
		{"x5c of the attacker", clerk, both(header("x5c", []string{certificate(foreignKey())}), own), nil, "its header has x5c"},
		{"iss to the attacker", clerk, both(claim("iss", attacker), own), nil, whyIssuer},
		{"crit", clerk, both(header("crit", []string{"exp"}), header("exp", 1)), nil, "its header has crit"},
		{"crit empty", clerk, header("crit", []string{}), nil, "its header has crit"},
		{"crit null", clerk, header("crit", nil), nil, "its header has crit"},
		{"b64 false", clerk, header("b64", false), nil, "its header has b64"},
		{"b64 false and critical", clerk, both(header("b64", false), header("crit", []string{"b64"})), nil, "its header has"},
		{"cty of a nested token", clerk, header("cty", "JWT"), nil, "its header has cty"},
		{"an OAuth access token", clerk, header("typ", "at+jwt"), nil, "its typ is not JWT"},
		{"typ a number", clerk, header("typ", 1), nil, "its typ is not JWT"},
		{"ES256 of zeros", ec, signedBy(fixed(strings.Repeat("\x00", 64))), nil, whySignature},
		{"ES256 too short", ec, signedBy(fixed(strings.Repeat("\x01", 63))), nil, whySignature},
		{"ES256 too long", ec, nil, part(2, func(s string) string { return s + "AAAA" }), whySignature},
		{"ES256 of a foreign key", ec, signedBy(signEC(newEC())), nil, whySignature},
	}
}

func hostileClaims() []hostile {
	clerk, supabase := (*world).clerkDraft, (*world).supabaseDraft
	return []hostile{
		{"expired", clerk, since("exp", -5), nil, "expired 5 s ago"},
		{"expired long ago", clerk, since("exp", -86400), nil, "expired 86400 s ago"},
		{"exp missing", clerk, without("exp"), nil, "it never expires (exp)"},
		{"exp null", clerk, claim("exp", nil), nil, "it never expires (exp)"},
		{"exp a text", clerk, claim("exp", "4102444800"), nil, whyClaims},
		{"exp true", clerk, claim("exp", true), nil, whyClaims},
		{"exp a list", clerk, claim("exp", []int{4102444800}), nil, whyClaims},
		{"exp of a fraction", clerk, claim("exp", 4102444800.5), nil, whyClaims},
		{"exp over every integer", clerk, claim("exp", json.RawMessage("1e300")), nil, whyClaims},
		{"exp over 64 bits", clerk, claim("exp", json.RawMessage("9223372036854775808")), nil, whyClaims},
		{"exp at the end of 64 bits", clerk, claim("exp", json.RawMessage("9223372036854775807")), nil, whyMoment},
		{"exp in milliseconds", clerk, claim("exp", newClock().now().UnixMilli()), nil, whyMoment},
		{"exp negative", clerk, claim("exp", -1), nil, whyMoment},
		{"exp at the beginning of 64 bits", clerk, claim("exp", json.RawMessage("-9223372036854775808")), nil, whyMoment},
		{"exp zero", clerk, claim("exp", 0), nil, "expired"},
		{"not yet valid", clerk, since("nbf", 6), nil, "not valid for another 6 s"},
		{"nbf a text", clerk, claim("nbf", "0"), nil, whyClaims},
		{"nbf huge", clerk, claim("nbf", json.RawMessage("9223372036854775807")), nil, whyMoment},
		{"issued in the future", clerk, since("iat", 6), nil, "issued 6 s in the future"},
		{"iat a text", clerk, claim("iat", "now"), nil, whyClaims},
		{"a foreign issuer", clerk, claim("iss", "https://clerk.example.net"), nil, whyIssuer},
		{"an issuer with a slash behind", clerk, claim("iss", clerkIssuer+"/"), nil, whyIssuer},
		{"an issuer in capitals", clerk, claim("iss", strings.ToUpper(clerkIssuer)), nil, whyIssuer},
		{"an issuer with a look-alike", clerk, claim("iss", strings.Replace(clerkIssuer, "e", "е", 1)), nil, whyIssuer},
		{"iss missing", clerk, without("iss"), nil, whyIssuer},
		{"iss a list", clerk, claim("iss", []string{clerkIssuer}), nil, whyUnread},
		{"iss an object", clerk, claim("iss", map[string]any{}), nil, whyUnread},
		{"the other source's user", supabase, claim("iss", clerkIssuer), nil, whyAlgorithm},
		{"another audience", supabase, claim("aud", "anon"), nil, whyAudience},
		{"other audiences", supabase, claim("aud", []string{"anon", "Authenticated"}), nil, whyAudience},
		{"aud missing", supabase, without("aud"), nil, whyAudience},
		{"aud empty", supabase, claim("aud", []string{}), nil, whyAudience},
		{"aud a number", supabase, claim("aud", 1), nil, whyClaims},
		{"aud with a number", supabase, claim("aud", []any{"authenticated", 1}), nil, whyClaims},
		{"a foreign party", clerk, claim("azp", "https://evil.example.com"), nil, "its authorized party (azp) is not in the list"},
		{"a party with a slash behind", clerk, claim("azp", origin+"/"), nil, "its authorized party (azp) is not in the list"},
		{"a party that only begins so", clerk, claim("azp", origin+".evil.net"), nil, "its authorized party (azp) is not in the list"},
		{"a party in capitals", clerk, claim("azp", strings.ToUpper(origin)), nil, "its authorized party (azp) is not in the list"},
		{"azp missing", clerk, without("azp"), nil, "it has no authorized party (azp)"},
		{"azp empty", clerk, claim("azp", ""), nil, "its authorized party (azp) is not in the list"},
		{"azp a list", clerk, claim("azp", []string{origin}), nil, "its authorized party (azp) is not in the list"},
		{"a pending session", clerk, claim("sts", "pending"), nil, "its session (sts) is not active"},
		{"sts a number", clerk, claim("sts", 1), nil, "its session (sts) is not active"},
		{"sub empty", clerk, claim("sub", ""), nil, whySubject},
		{"sub missing", clerk, without("sub"), nil, whySubject},
		{"sub null", clerk, claim("sub", nil), nil, whySubject},
		{"sub a number", clerk, claim("sub", 7), nil, whyClaims},
		{"sub a list", clerk, claim("sub", []string{clerkUser}), nil, whyClaims},
		{"sub with NUL", clerk, claim("sub", clerkUser+"\x00"), nil, whySubject},
		{"sub of 256 bytes", clerk, claim("sub", strings.Repeat("é", 128)), nil, whySubject},
		{"sub with half a surrogate", clerk, claim("sub", json.RawMessage(`"user_\ud800"`)), nil, whySubject},
	}
}

func hostileForms() []hostile {
	clerk := (*world).clerkDraft
	return []hostile{
		{"empty", clerk, nil, instead(""), whyParts},
		{"Bearer x", clerk, nil, instead("Bearer x"), whyParts},
		{"Bearer before it", clerk, nil, inserted("Bearer ", 0), whyForm},
		{"two dots only", clerk, nil, instead(".."), whyParts},
		{"one dot", clerk, nil, instead("."), whyParts},
		{"two parts", clerk, nil, func(s string) string { return s[:strings.LastIndex(s, ".")] }, whyParts},
		{"four parts", clerk, nil, func(s string) string { return s + ".e30" }, whyParts},
		{"five parts, as encrypted", clerk, nil, func(s string) string { return s + ".e30.e30" }, whyParts},
		{"encrypted header, three parts", clerk, both(header("alg", "RSA-OAEP"), header("enc", "A256GCM")), nil, whyAlgorithm},
		{"flattened JSON", clerk, nil, asJSON, whyParts},
		{"flattened JSON with dots", clerk, nil, func(s string) string { return strings.Replace(asJSON(s), "}", `,"header":{"a":".x."}}`, 1) }, whyForm},
		{"stripped signature", clerk, nil, part(2, instead("")), whyParts},
		{"truncated signature", clerk, nil, part(2, func(s string) string { return s[:len(s)-6] }), whySignature},
		{"half a signature byte", clerk, nil, part(2, func(s string) string { return s[:len(s)-1] }), whyForm},
		{"signature with padding", clerk, nil, func(s string) string { return s + "==" }, whyForm},
		{"signature with other last bits", clerk, nil, func(s string) string { return s[:len(s)-1] + otherBits(s[len(s)-1]) }, whyForm},
		{"standard base64", clerk, nil, part(2, func(s string) string { return "+/" + s[2:] }), whyForm},
		{"a space inside", clerk, nil, inserted(" ", 10), whyForm},
		{"a line break inside", clerk, nil, inserted("\n", 12), whyForm},
		{"a line break behind", clerk, nil, func(s string) string { return s + "\r\n" }, whyForm},
		{"a space before", clerk, nil, inserted(" ", 0), whyForm},
		{"a NUL behind", clerk, nil, func(s string) string { return s + "\x00" }, whyForm},
		{"letters beyond ASCII", clerk, nil, inserted("é", 4), whyForm},
		{"bytes that are no text", clerk, nil, inserted("\xff\xfe", 4), whyForm},
		{"20 kB", clerk, claim("padding", strings.Repeat("x", 15000)), nil, "longer than 16384 bytes"},
		{"20 kB of dots", clerk, nil, instead(strings.Repeat(".", 20000)), "longer than 16384 bytes"},
		{"tampered claims", clerk, nil, part(1, promoted), whySignature},
		{"tampered header", clerk, nil, part(0, func(string) string { return b64(`{"alg":"RS256","kid":"ins_1"}`) }), whySignature},
		{"header no object", clerk, nil, part(0, instead(b64(`"RS256"`))), whyHeader},
		{"header null", clerk, nil, part(0, instead(b64(`null`))), whyHeader},
		{"header cut off", clerk, nil, part(0, instead(b64(`{"alg":"RS256"`))), whyHeader},
		{"header with alg twice", clerk, nil, part(0, instead(b64(`{"alg":"none","alg":"RS256","kid":"ins_1"}`))), whyHeader},
		{"claims a text", clerk, nil, part(1, instead(b64(`"a.b.c"`))), whyUnread},
		{"claims cut off", clerk, nil, part(1, instead(b64(`{"iss":"`+clerkIssuer+`"`))), whyUnread},
		{"claims nested too deeply", clerk, nil, part(1, instead(b64(strings.Repeat("[", 9000)))), whyUnread},
		{"a claim twice", clerk, nil, signedClaims(`{"iss":"` + clerkIssuer + `","sub":"user_a","sub":"` + clerkUser + `","exp":4102444800,"azp":"` + origin + `"}`), whyUnread},
		{"claims in capitals", clerk, nil, signedClaims(`{"iss":"` + clerkIssuer + `","SUB":"` + clerkUser + `","exp":4102444800,"azp":"` + origin + `"}`), whySubject},
		{"sub that is no UTF-8", clerk, nil, signedClaims(`{"iss":"` + clerkIssuer + `","sub":"user_` + "\xff" + `","exp":4102444800,"azp":"` + origin + `"}`), whySubject},
		{"a token inside the token", clerk, nil, signedClaims(`eyJhbGciOiJub25lIn0.e30.`), whyUnread},
	}
}

// signedClaims writes claims that a map can't hold, signed with the right key.
func signedClaims(claims string) func(string) string {
	return instead(compact(`{"alg":"RS256","kid":"ins_1"}`, claims, signRSA(clerkKey())))
}

// otherBits changes bits of the last character that carry nothing: the same bytes, another
// text. A signature of 256 bytes ends in four such bits.
func otherBits(last byte) string {
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	return string(alphabet[strings.IndexByte(alphabet, last)^1])
}

// TestHostile starts from tokens that are believed, makes one change, and wants the refusal
// that this change calls for.
func TestHostile(t *testing.T) {
	t.Parallel()
	attacker := newProvider(t, publish(t, public("ins_1", foreignKey()), public("ins_2", foreignKey())))
	t.Cleanup(func() { attacker.wantCalls(t, 0) })
	for _, h := range hostiles(attacker.URL) {
		t.Run(h.name, func(t *testing.T) {
			t.Parallel()
			h.try(t)
		})
	}
}

// tokens are the token that is believed and the one with the change.
func (h hostile) tokens(t testing.TB, w *world) (believed, bad string) {
	d := h.from(w)
	believed = d.token(t)
	if h.change != nil {
		h.change(&d)
	}
	bad = d.token(t)
	if h.spoil != nil {
		bad = h.spoil(bad)
	}
	return believed, bad
}

func (h hostile) try(t *testing.T) {
	w := newWorld(t)
	believed, bad := h.tokens(t, w)
	must.Do(t, w.refusal(t, believed))
	if bad == believed {
		t.Fatal("nothing was changed")
	}
	who, err := w.Verify(t.Context(), bad)
	if who.User != "" || !errors.Is(err, ErrInvalid) {
		t.Fatalf("Verify = %+v, %v, want %v", who, err, ErrInvalid)
	}
	claimed, _, known := strings.Cut(strings.TrimPrefix(err.Error(), "source "), ": session token")
	if !known { // nobody's issuer, or none that can be read
		claimed = ""
	}
	if who.Source != claimed || (h.why == whyIssuer && who.Source != "") {
		t.Errorf("Verify names source %q beside %q", who.Source, err)
	}
	must.Contain(t, err.Error(), h.why)
}

// TestWordsOfRefusal looks for anything in the errors that a token has chosen.
func TestWordsOfRefusal(t *testing.T) {
	const chosen = "chosen-by-a-stranger"
	w := parallel(t)
	for _, name := range []string{"alg", "kid", "typ", "iss", "sub", "azp", "sts", "exp", "nbf", "iat", "jku", "jwk", "x5c", "crit"} {
		d := w.clerkDraft()
		if _, ok := d.claims[name]; ok {
			d.claims[name] = []string{chosen}
		} else {
			d.header[name] = chosen
		}
		err := w.refusal(t, d.token(t))
		must.Fail(t, err, ErrInvalid)
		must.Lack(t, fmt.Sprint(err), chosen)
	}
}

// TestKeysThatDontCount publishes a key that must not be used, beside a good one, and signs
// with it.
func TestKeysThatDontCount(t *testing.T) {
	t.Parallel()
	key := func(change func(*jose.JSONWebKey)) jose.JSONWebKey {
		k := public("odd", supabaseKey())
		change(&k)
		return k
	}
	small := newRSA(1024)
	for name, k := range map[string]jose.JSONWebKey{
		"for encryption":       key(func(k *jose.JSONWebKey) { k.Use = "enc" }),
		"of another algorithm": key(func(k *jose.JSONWebKey) { k.Algorithm = "RS512" }),
		"private":              key(func(k *jose.JSONWebKey) { k.Key = supabaseKey() }),
		"symmetric":            key(func(k *jose.JSONWebKey) { k.Key = []byte(jwtSecret) }),
		"without an id":        key(func(k *jose.JSONWebKey) { k.KeyID = "" }),
		"short":                key(func(k *jose.JSONWebKey) { k.Key = small.Public() }),
		"on a curve":           key(func(k *jose.JSONWebKey) { k.Key = newEC().Public() }),
	} {
		t.Run(name, func(t *testing.T) {
			w := parallel(t)
			w.clerk.becomes(publish(t, k, public("ins_1", clerkKey())))
			d := w.clerkDraft()
			d.header["kid"], d.sign = "odd", signRSA(supabaseKey())
			if name == "short" {
				d.sign = signRSA(small)
			}
			must.Fail(t, w.refusal(t, d.token(t)), ErrInvalid, whyKey)
			w.accept(t, w.clerkDraft().token(t), "clerk", clerkUser)
			w.clerk.becomes(publish(t, public("odd", supabaseKey())))
			if name != "short" {
				w.pass(fetchFloor)
				d.claims["exp"] = w.now().Unix() + 60
				w.accept(t, d.token(t), "clerk", clerkUser)
			}
		})
	}
}

// TestOddKeyBesideGoodOnes holds that a key we can't read doesn't cost the others.
func TestOddKeyBesideGoodOnes(t *testing.T) {
	w := parallel(t)
	odd := `{"kty":"AKP","kid":"q"},{"kty":"RSA","n":"","e":"AQAB","kid":"r"},7,null,{"kty":"EC","crv":"P-256","x":"AA","y":"AA","kid":"e"},`
	w.clerk.becomes(text(http.StatusOK, `{"keys":[`+odd+string(jwkOf(clerkKey()))+`]}`))
	w.accept(t, w.clerkDraft().token(t), "clerk", clerkUser)
}
