package source

import (
	"fmt"
	"math"
	"testing"

	"rollcall/internal/must"
)

// benchClerk is an event of 2 kB, as a real delivery without whitespace.
func benchClerk() string {
	const entry = `{"id":"idn_2abcEmail%c000000000000000000","object":"email_address","reserved":false,"linked_to":[],"created_at":1760000000100,"updated_at":1760000000400,"verification":{"object":"verification_otp","status":"verified","strategy":"email_code","attempts":1,"expire_at":1760000600000},"email_address":"ada.%c@example.com","matches_sso_connection":false}`
	emails := fmt.Sprintf(entry+","+entry, 'A', 'a', 'B', 'b')
	return `{"data":{"id":"user_2abcUser0000000000000000000","banned":false,"locked":false,"object":"user","passkeys":[],"username":"ada","has_image":true,"image_url":"https://img.clerk.com/xxxxxx","last_name":"Lovelace","created_at":1760000000400,"first_name":"Ada","updated_at":1760000000450,"external_id":null,"totp_enabled":false,"web3_wallets":[],"phone_numbers":[],"saml_accounts":[],"last_active_at":1760000000400,"mfa_enabled_at":null,"email_addresses":[` + emails + `],"last_sign_in_at":1760000000400,"mfa_disabled_at":null,"public_metadata":{"plan":"pro","roles":["admin","editor"]},"unsafe_metadata":{"onboarded":false,"theme":"dark"},"password_enabled":true,"private_metadata":{},"external_accounts":[],"legal_accepted_at":null,"profile_image_url":"https://www.gravatar.com/avatar?d=mp","two_factor_enabled":false,"backup_code_enabled":false,"delete_self_enabled":true,"enterprise_accounts":[],"primary_web3_wallet_id":null,"primary_phone_number_id":null,"primary_email_address_id":"idn_2abcEmailB000000000000000000","lockout_expires_in_seconds":null,"create_organization_enabled":true,"verification_attempts_remaining":100},"type":"user.updated","object":"event","timestamp":1760000000480,"instance_id":"` + instance + `","event_attributes":{"http_request":{"client_ip":"203.0.113.7","user_agent":"Mozilla/5.0 (X11; Linux x86_64)"}}}`
}

func BenchmarkVerify(b *testing.B) {
	s := clerkSource(b)
	r := signed(b, s, Hook, benchClerk())
	b.SetBytes(int64(len(r.Body)))
	b.ReportAllocs()
	for b.Loop() {
		must.Do(b, s.Verify(r))
	}
}

func BenchmarkDecodeClerk(b *testing.B) {
	s := clerkSource(b)
	benchmarkDecode(b, s, signed(b, s, Hook, benchClerk()))
}

func BenchmarkDecodeSupabase(b *testing.B) {
	c := captures(b)["01-signup-email.2.after-user-created"]
	benchmarkDecode(b, c.source(b), c.request())
}

func BenchmarkDecodeDatabase(b *testing.B) {
	s := supabaseSource(b)
	benchmarkDecode(b, s, signed(b, s, Database, files(b, "database")["update"]))
}

func benchmarkDecode(b *testing.B, s *Source, r Request) {
	b.SetBytes(int64(len(r.Body)))
	b.ReportAllocs()
	for b.Loop() {
		if e := s.Decode(r); e.User == nil {
			b.Fatal(e.Reason)
		}
	}
}

// mostAllocations is what one event may cost before it is in the queue.
const mostAllocations = 40

// TestVerifyAndDecodeAllocations counts instead of taking the time: a count is the same on
// every machine. It takes the least of many runs: under the race detector a sync.Pool drops some of what it is given.
func TestVerifyAndDecodeAllocations(t *testing.T) {
	s := clerkSource(t)
	r := signed(t, s, Hook, benchClerk())
	verifyAndDecode := func() {
		if err := s.Verify(r); err != nil {
			t.Error(err)
		}
		if e := s.Decode(r); e.User == nil {
			t.Error(e.Reason)
		}
	}
	got := math.Inf(1)
	for range 100 {
		got = min(got, testing.AllocsPerRun(1, verifyAndDecode))
	}
	if got > mostAllocations {
		t.Errorf("to verify and decode an event of %d bytes takes %.0f allocations, want at most %d", len(r.Body), got, mostAllocations)
	}
}
