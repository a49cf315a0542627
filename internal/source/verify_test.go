package source

import (
	"bytes"
	"compress/gzip"
	"net/http"
	"strings"
	"testing"
	"time"

	"rollcall/internal/event"
	"rollcall/internal/must"
)

// alter changes one character of a text into another of the same kind.
func alter(s string, at int) string {
	b := []byte(s)
	switch {
	case b[at] == '0':
		b[at] = '1'
	case b[at] >= '0' && b[at] <= '9':
		b[at] = '0'
	default:
		b[at] ^= 1
	}
	return string(b)
}

func refuse(t *testing.T, s *Source, r Request, reason string) {
	t.Helper()
	err := s.Verify(r)
	must.Fail(t, err, event.ErrUnverified, reason)
	for _, name := range []string{"Svix-Signature", "Webhook-Signature", "X-Webhook-Secret", "Authorization"} {
		if value := r.Header.Get(name); len(value) > 12 && err != nil && strings.Contains(err.Error(), value) {
			t.Errorf("the reason holds a secret: %v", err)
		}
	}
}

// judge is refuse, or for no reason wants the request to be verified.
func judge(t *testing.T, s *Source, r Request, reason string) {
	t.Helper()
	if reason != "" {
		refuse(t, s, r, reason)
	} else {
		must.Do(t, s.Verify(r))
	}
}

func TestAlteredRequestsAreRefused(t *testing.T) {
	for name, c := range captures(t) {
		t.Run(name, func(t *testing.T) {
			s := c.source(t)
			for at := 0; at < len(c.Body); at += 37 {
				altered := c
				altered.Body = alter(c.Body, at)
				refuse(t, s, altered.request(), "none of the configured secrets")
			}
			for _, header := range []string{"Webhook-Id", "Webhook-Timestamp"} {
				r := c.request()
				value := r.Header.Get(header)
				r.Header.Set(header, alter(value, len(value)-1))
				refuse(t, s, r, "none of the configured secrets")
			}
			r := c.request()
			parts := strings.Split(r.Header.Get("Webhook-Signature"), ", ")
			for i := range parts {
				parts[i] = alter(parts[i], 10)
			}
			r.Header.Set("Webhook-Signature", strings.Join(parts, ", "))
			refuse(t, s, r, "none of the configured secrets")
		})
	}
}

func TestEachOfTwoSecretsVerifies(t *testing.T) {
	for name, c := range captures(t) {
		signatures := strings.Count(c.Headers["Webhook-Signature"], "v1,")
		verified := 0
		for _, secret := range c.Secrets {
			one := c
			one.Secrets = []string{secret}
			if one.source(t).Verify(c.request()) == nil {
				verified++
			}
		}
		must.Equal(t, verified, signatures, name+": secrets that verify alone")
	}
}

func TestRotationAtTheReceiver(t *testing.T) {
	old := build(t, Config{Name: "clerk", Provider: Clerk, SigningSecrets: []string{clerkSecret}})
	both := build(t, Config{Name: "clerk", Provider: Clerk, SigningSecrets: []string{clerkSecret2, clerkSecret}})
	next := build(t, Config{Name: "clerk", Provider: Clerk, SigningSecrets: []string{clerkSecret2}})
	r := signed(t, old, Hook, `{}`)
	must.Do(t, both.Verify(r))
	refuse(t, next, r, "none of the configured secrets")
	for _, one := range []*Source{old, next} {
		must.Do(t, one.Verify(signed(t, both, Hook, `{}`)))
	}
	hook := supabaseSource(t)
	pair := build(t, Config{Name: "supabase", Provider: Supabase, SigningSecrets: []string{
		"v1," + clerkSecret, supabaseSecret,
	}})
	r = signed(t, pair, Hook, `{}`)
	must.Do(t, hook.Verify(r))
	must.Equal(t, strings.Count(r.Header.Get("Webhook-Signature"), ", v1,"), 1, "joints")
}

func TestAgeOfSignatures(t *testing.T) {
	s := clerkSource(t)
	at := func(sent string, received time.Time) Request {
		r := signed(t, s, Hook, `{}`)
		r.Header.Set("Svix-Timestamp", sent)
		r.ReceivedAt = received
		return r
	}
	sent := now.Truncate(time.Second)
	for _, offset := range []time.Duration{-5 * time.Minute, 0, 5*time.Minute + 999*time.Millisecond} {
		r := signed(t, s, Hook, `{}`)
		r.ReceivedAt = sent.Add(offset)
		must.Equal(t, s.Verify(r), nil, offset.String())
	}
	refuse(t, s, at("1795230000", time.Unix(1795230301, 0)), "too old by 1 s")
	refuse(t, s, at("1795230000", time.Unix(1795229699, 0)), "too new by 1 s")
	for _, sent := range []string{"now", "1795230000.5", "+1795230000", "01795230000", "-5", "99999999999999999999", " 1795230000"} {
		refuse(t, s, at(sent, time.Unix(1795230000, 0)), "not a number of seconds")
	}
	// Milliseconds are a date far ahead, not a wrong signature.
	refuse(t, s, at("1795230000000", time.Unix(1795230000, 0)), "milliseconds")
}

// A body that is compressed on its way is said to be, whichever bytes were signed.
func TestCompressedBody(t *testing.T) {
	s := clerkSource(t)
	var packed bytes.Buffer
	w := gzip.NewWriter(&packed)
	_, _ = w.Write([]byte(`{"object":"event","type":"user.created","data":{"id":"u"}}`))
	must.Do(t, w.Close())
	signedPlain := signed(t, s, Hook, `{"object":"event","type":"user.created","data":{"id":"u"}}`)
	signedPlain.Body = packed.Bytes()
	refuse(t, s, signedPlain, "compressed (gzip)")
	signedPacked := signed(t, s, Hook, packed.String())
	signedPacked.Header.Set("Content-Encoding", "gzip")
	must.Do(t, s.Verify(signedPacked))
	e := s.Decode(signedPacked)
	must.Equal(t, opNames[e.Op], "undecodable", "op")
	must.Contain(t, e.Reason, "compressed (gzip)")
	wrong := signed(t, s, Hook, `{}`)
	wrong.Body = []byte(`{ }`)
	err := s.Verify(wrong)
	must.True(t, err != nil && !strings.Contains(err.Error(), "compressed"), "a plain body: %v", err)
}

func TestHeaderFamilies(t *testing.T) {
	s := clerkSource(t)
	good := signed(t, s, Hook, `{}`)
	id, sent := good.Header.Get("Svix-Id"), good.Header.Get("Svix-Timestamp")
	signature := good.Header.Get("Svix-Signature")
	for name, test := range map[string]struct {
		header http.Header
		reason string
	}{
		"neutral names":      {http.Header{"Webhook-Id": {id}, "Webhook-Timestamp": {sent}, "Webhook-Signature": {signature}}, ""},
		"svix incomplete":    {http.Header{"Svix-Id": {"other"}, "Webhook-Id": {id}, "Webhook-Timestamp": {sent}, "Webhook-Signature": {signature}}, ""},
		"svix goes first":    {http.Header{"Svix-Id": {"other"}, "Svix-Timestamp": {sent}, "Svix-Signature": {signature}, "Webhook-Id": {id}, "Webhook-Timestamp": {sent}, "Webhook-Signature": {signature}}, "none of the configured"},
		"mixed":              {http.Header{"Svix-Id": {id}, "Webhook-Timestamp": {sent}, "Webhook-Signature": {signature}}, "missing or empty headers: Svix-Timestamp, Svix-Signature"},
		"none":               {http.Header{}, "missing or empty headers: Svix-Id, Svix-Timestamp, Svix-Signature"},
		"nil":                {nil, "missing or empty headers"},
		"empty signature":    {http.Header{"Svix-Id": {id}, "Svix-Timestamp": {sent}, "Svix-Signature": {""}}, "missing or empty headers: Svix-Signature"},
		"only another kind":  {http.Header{"Svix-Id": {id}, "Svix-Timestamp": {sent}, "Svix-Signature": {"v1a,xx v2,yy"}}, "Svix-Signature holds no v1 signature"},
		"id twice the same":  {http.Header{"Svix-Id": {id, id}, "Svix-Timestamp": {sent}, "Svix-Signature": {signature}}, ""},
		"two ids":            {http.Header{"Svix-Id": {id, "other"}, "Svix-Timestamp": {sent}, "Svix-Signature": {signature}}, "Svix-Id occurs twice"},
		"two timestamps":     {http.Header{"Svix-Id": {id}, "Svix-Timestamp": {sent, "1"}, "Svix-Signature": {signature}}, "Svix-Timestamp occurs twice"},
		"second line":        {http.Header{"Svix-Id": {id}, "Svix-Timestamp": {sent}, "Svix-Signature": {"v1,AAAA", signature}}, ""},
		"second of a line":   {http.Header{"Svix-Id": {id}, "Svix-Timestamp": {sent}, "Svix-Signature": {"v1,AAAA " + signature}}, ""},
		"comma and space":    {http.Header{"Svix-Id": {id}, "Svix-Timestamp": {sent}, "Svix-Signature": {signature + ", v1,AAAA"}}, ""},
		"comma alone":        {http.Header{"Svix-Id": {id}, "Svix-Timestamp": {sent}, "Svix-Signature": {"v1,AAAA," + signature}}, ""},
		"wrong version":      {http.Header{"Svix-Id": {id}, "Svix-Timestamp": {sent}, "Svix-Signature": {"v2" + signature[2:]}}, "holds no v1 signature"},
		"signature is bogus": {http.Header{"Svix-Id": {id}, "Svix-Timestamp": {sent}, "Svix-Signature": {"bogus"}}, "holds no v1 signature"},
	} {
		t.Run(name, func(t *testing.T) {
			r := good
			r.Header = test.header
			judge(t, s, r, test.reason)
		})
	}
}

func TestDatabaseEndpoint(t *testing.T) {
	named := func(header string, secrets ...string) *Source {
		return build(t, Config{Name: "supabase", Provider: Supabase, WebhookHeader: header, WebhookSecrets: secrets})
	}
	custom, auth := named("x-webhook-secret", "made-up-number-one", "made-up-number-two"), named("Authorization", "Bearer made-up-number-one")
	bare := named("authorization", "made-up-number-one")
	for name, test := range map[string]struct {
		s      *Source
		header http.Header
		reason string
	}{
		"first":              {custom, http.Header{"X-Webhook-Secret": {"made-up-number-one"}}, ""},
		"second":             {custom, http.Header{"X-Webhook-Secret": {"made-up-number-two"}}, ""},
		"the same twice":     {custom, http.Header{"X-Webhook-Secret": {"made-up-number-two", "made-up-number-two"}}, ""},
		"two different":      {custom, http.Header{"X-Webhook-Secret": {"made-up-number-two", "made-up-number-one"}}, "occurs twice"},
		"a part":             {custom, http.Header{"X-Webhook-Secret": {"made-up"}}, "none of the configured"},
		"more":               {custom, http.Header{"X-Webhook-Secret": {"made-up-number-one "}}, "none of the configured"},
		"other case":         {custom, http.Header{"X-Webhook-Secret": {"Made-up-one"}}, "none of the configured"},
		"bearer elsewhere":   {custom, http.Header{"X-Webhook-Secret": {"Bearer made-up-number-one"}}, "none of the configured"},
		"missing":            {custom, http.Header{"Authorization": {"made-up-number-one"}}, "X-Webhook-Secret is missing"},
		"empty":              {custom, http.Header{"X-Webhook-Secret": {""}}, "missing or empty"},
		"bearer on both":     {auth, http.Header{"Authorization": {"Bearer made-up-number-one"}}, ""},
		"bearer configured":  {auth, http.Header{"Authorization": {"made-up-number-one"}}, ""},
		"bearer sent":        {bare, http.Header{"Authorization": {"Bearer made-up-number-one"}}, ""},
		"bearer in any case": {bare, http.Header{"Authorization": {"bearer made-up-number-one"}}, ""},
		"bearer and nothing": {auth, http.Header{"Authorization": {"Bearer "}}, "none of the configured"},
		"closed":             {clerkSource(t), http.Header{"Authorization": {"x"}}, "database endpoint has no secret"},
		"closed for nobody":  {named("X-Webhook-Secret"), http.Header{"X-Webhook-Secret": {""}}, "database endpoint has no secret"},
	} {
		t.Run(name, func(t *testing.T) {
			r := Request{Endpoint: Database, Header: test.header, Body: []byte(`{}`), ReceivedAt: now}
			judge(t, test.s, r, test.reason)
		})
	}
}

func TestSign(t *testing.T) {
	for _, s := range []*Source{clerkSource(t), supabaseSource(t)} {
		first := must.Get(s.Sign(Hook, []byte(`{"a":1}`)))(t)
		second, _ := s.Sign(Hook, []byte(`{"a":1}`))
		must.True(t, s.eventID(first) != s.eventID(second), "%s: two messages with the id %s", s.Name(), s.eventID(first))
		// Without a time of receipt the source's own clock decides.
		must.Do(t, s.Verify(Request{Header: first, Body: []byte(`{"a":1}`)}))
		old, _ := s.SignAs(Hook, nil, "msg_old", now.Add(-time.Hour))
		refuse(t, s, Request{Header: old, ReceivedAt: now}, "too old by 3300 s")
		must.Equal(t, s.eventID(old), "msg_old", "id")
	}
}
