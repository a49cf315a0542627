package config

import (
	"testing"
)

func TestNotify(t *testing.T) {
	t.Parallel()
	head := "database: a=b\nsources:\n  a: {provider: clerk}\n  b: {provider: supabase}\nnotify:\n"
	hook := "{url: https://app.example.com/x, secrets: [\"${CLERK_WEBHOOK_SIGNING_SECRET}\"]}"
	runMistakes(t, []mistake{
		{"everything missing", head + "  n: {}\n", nil, []string{
			`r.yaml:6:3: notify.n.on is missing; add "on: …", the transitions that are said`,
			"r.yaml:6:3: notify.n goes nowhere; add webhook: {url: …, secrets: […]} or channel: …"}},
		{"both", head + "  n:\n    on: [appeared]\n    webhook: " + hook + "\n    channel: c\n", nil, []string{
			"r.yaml:9:5: notify.n has a webhook and a channel; keep one, and make a second notification for the other"}},
		{"words", head + "  n: {on: [apeared], payload: [raw_user_meta_data], channel: c, from: [c]}\n", nil, []string{
			`r.yaml:6:12: notify.n.on: "apeared" is not known here; did you mean appeared? Write appeared, confirmed, email_changed, upgraded, banned, unbanned, deleted, joined, left or role_changed`,
			`r.yaml:6:32: notify.n.payload: "raw_user_meta_data" is not known here; write external_id, email, email_verified, email_confirmed_at, phone, phone_verified, phone_confirmed_at, username, first_name, last_name, full_name, avatar_url, is_anonymous, is_sso_user, locked, banned, banned_until, invited_at, created_at, organization_id, user_id, role or role_name`,
			`r.yaml:6:72: notify.n.from: "c" is no source; known here: a, b`}},
		{"members of supabase", head + "  n: {on: [joined], channel: c, from: [b]}\n", nil, []string{
			"r.yaml:6:12: notify.n.on: no source has memberships, so joined never happens; they come from a source of clerk"}},
		{"http", head + "  n: {on: [appeared], webhook: {url: \"http://u:p@app\", secrets: [whsec_c2hvcnQ=, abc], allow_private: maybe}}\n", nil, []string{
			"r.yaml:6:38: notify.n.webhook.url begins with http; write https, or allow_private: true for an address of your own network",
			"r.yaml:6:66: notify.n.webhook.secrets: the value is not whsec_ and 24 to 64 bytes in base64; make one: echo whsec_$(openssl rand -base64 32)",
			"r.yaml:6:82: notify.n.webhook.secrets: the value does not start with whsec_; make one: echo whsec_$(openssl rand -base64 32)",
			`r.yaml:6:103: notify.n.webhook.allow_private: "maybe" is neither true nor false; write one of them`}},
		{"password", head + "  n: {on: [appeared], webhook: {url: \"https://u:p@app\", secrets: [\"${CLERK_WEBHOOK_SIGNING_SECRET}\"]}}\n", nil, []string{
			"r.yaml:6:38: notify.n.webhook.url holds a user or a password; leave them out, because the signature is the proof"}},
		{"channel", head + "  n: {on: [appeared], channel: 'a\"b'}\n", nil, []string{
			`r.yaml:6:32: notify.n.channel: "a\"b" is no name of a channel; write up to 63 bytes, without quotes, exactly as listen has it`}},
		{"a command", head + "  retry: {on: [appeared], channel: c}\n", nil, []string{
			"r.yaml:6:3: notify.retry: retry is no name for a notification, but a command of rollcall notifications; take another name"}},
		{"fine", head + "  n: {on: [appeared], webhook: " + hook + "}\n", nil, nil},
	})
}
