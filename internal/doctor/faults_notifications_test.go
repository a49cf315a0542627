//go:build unix

package doctor_test

// notifying configures a notification, whose transitions wait or have failed as SQL says.
func notifying(sql string) func(*patient) {
	return both(edit(appSource, appSource+"notify:\n  hook:\n    on: [appeared]\n    webhook:\n      url: https://example.com/x\n      secrets: [whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIz]\n"),
		run(sql))
}

// waits are n notifications of a name that wait.
func waits(name, n, values string) string {
	return "insert into rollcall.transitions (type, source, row_id) select 'appeared', 'app', i::text from generate_series(1, " + n + ") i; " +
		"insert into rollcall.notifications (name, transition, noted_at, state, attempts, error) select '" + name + "', id, " + values + " from rollcall.transitions"
}

var notificationFaults = []fault{
	{
		code: "notification_refused", place: "rollcall.yaml:10:3", words: "one waits since", remedy: "rollcall notifications hook",
		seed:  notifying(waits("hook", "3", "now() - interval '2 hours', 'pending', 3, 'status 500'")),
		after: run("update rollcall.notifications set state = 'delivered', ended_at = now(), error = null"),
	},
	{
		code: "notification_private", place: "rollcall.yaml:10:3", words: "is not public, and gets nothing", remedy: "allow_private: true",
		seed: notifying(waits("hook", "1", "now(), 'pending', 1, 'the address is not public; if it is meant, set allow_private: true'")),
	},
	{
		code: "notification_backlog", place: "rollcall.yaml:10:3", words: "10001 wait, the oldest since", remedy: "rollcall notifications hook",
		seed:  notifying(waits("hook", "10001", "now(), 'pending', 0, null")),
		after: run("delete from rollcall.notifications where transition = 1"),
	},
	{
		code: "notification_given_up", place: "rollcall.yaml:10:3", words: "2 have failed for good, the last one: status 410", remedy: "rollcall notifications hook --failed",
		seed:  notifying(waits("hook", "2", "now(), 'failed', 8, 'status 410'")),
		after: run("delete from rollcall.notifications"),
	},
	{
		code: "notification_unowned", place: "table rollcall.notifications", words: "1 notifications of old wait", remedy: "delete from rollcall.notifications where name = 'old'",
		seed: both(notifying(waits("old", "1", "now(), 'pending', 0, null")),
			run("insert into rollcall.rules (replica, name, transitions, since) values ('gone', 'old', '{appeared}', now())")),
	},
}
