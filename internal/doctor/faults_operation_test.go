//go:build unix

package doctor_test

// ranDaysAgo makes the installation as old as one that has run for days.
const ranDaysAgo = "update rollcall.migrations set applied_at = now() - interval '9 days'; "

const userX = "insert into rollcall.users (source, id, version) values ('clerk', 'x', 1); "

// operationFaults are those of a running installation.
var operationFaults = []fault{
	{
		code: "backfill_missing", place: "rollcall.yaml:10:3", words: "newer than 1 users of the roll", remedy: "rollcall backfill people",
		seed: run(userX), after: run("delete from rollcall.users"),
	},
	{
		code: "backfill_open", place: "rollcall.yaml:10:3", words: "has not ended", remedy: "rollcall backfill people",
		seed:  run("insert into rollcall.backfills (target, config, seen, started_at, visited) values ('people', 1, pg_current_snapshot(), now() - interval '3 hours', 7)"),
		after: run("update rollcall.backfills set finished_at = now()"),
	},
	{
		code: "parked_given_up", place: "rollcall.yaml:10:3", words: "has refused 1 users until they were given up", remedy: "rollcall parked retry people",
		seed:  run("insert into rollcall.parked (target, source, user_id, retry_at, sqlstate, error, given_up) values ('people', 'clerk', 'x', now(), '23505', 'no', true)"),
		after: run("delete from rollcall.parked"),
	},
	{
		code: "parked_long", place: "rollcall.yaml:10:3", words: "refuses 1 users, one since", remedy: "rollcall parked people",
		seed:  run("insert into rollcall.parked (target, source, user_id, retry_at, sqlstate, error, since) values ('people', 'clerk', 'x', now(), '23505', 'no', now() - interval '2 hours')"),
		after: run("delete from rollcall.parked"),
	},
	{
		code: "target_differs", place: "rollcall.yaml:10:3", words: "3 users out of step in target people", remedy: "rollcall check --repair",
		seed:  run("insert into rollcall.checks values ('people', 'clerk', 'missing', 2, now()), ('people', 'clerk', 'different', 1, now()), ('people', 'clerk', 'present', 9, now())"),
		after: run("delete from rollcall.checks"),
	},
	{
		code: "target_overruled", place: "rollcall.yaml:10:3", words: "decide otherwise about 4 users", remedy: "rollcall check",
		seed: run("insert into rollcall.checks values ('people', 'clerk', 'rewritten', 4, now())"), after: run("delete from rollcall.checks"),
	},
	{
		code: "check_old", place: "rollcall.yaml:10:3", words: "target people was last checked never", remedy: "rollcall check",
		seed: run(ranDaysAgo), after: run("insert into rollcall.checks values ('people', 'clerk', 'present', 4, now())"),
	},
	{
		code: "users_kept", place: "source clerk", words: "such as x (raw_user_meta_data)", remedy: "rollcall check --user x",
		seed: run(userX + "update rollcall.users set kept = '{raw_user_meta_data}'"), after: run("update rollcall.users set kept = null"),
	},
	{
		code: "reconcile_failed", place: "source app", words: "failed: the table reads empty", remedy: "rollcall reconcile app",
		seed:  run("insert into rollcall.reconciliations (source, listed, finished_at, error) values ('app', 'auth.users', now(), 'the table reads empty')"),
		after: run("insert into rollcall.reconciliations (source, listed, finished_at) values ('app', 'auth.users', now())"),
	},
	{
		code: "reconcile_incomplete", place: "source app", words: "could not bring 5 rows up to date", remedy: "rollcall reconcile app",
		seed:  run(`insert into rollcall.reconciliations (source, listed, finished_at, failed, others) values ('app', 'auth.users', now(), 2, '{"memberships": {"failed": 3}}')`),
		after: run("insert into rollcall.reconciliations (source, listed, finished_at) values ('app', 'auth.users', now())"),
	},
	{
		code: "reconcile_never", place: "rollcall.yaml:9:17", words: "has never been reconciled", remedy: "rollcall reconcile app",
		seed:  both(run(ranDaysAgo), edit(appSource, appSource+"    reconcile: {schedule: \"0 4 * * *\"}\n")),
		after: run("insert into rollcall.reconciliations (source, listed, finished_at) values ('app', 'auth.users', now())"),
	},
	{
		code: "reconcile_old", place: "rollcall.yaml:9:17", words: "was last reconciled at", remedy: "rollcall reconcile app",
		seed: both(run(ranDaysAgo+"insert into rollcall.reconciliations (source, listed, finished_at) values ('app', 'auth.users', now() - interval '4 days')"),
			edit(appSource, appSource+"    reconcile: {schedule: \"0 4 * * *\"}\n")),
		after: run("insert into rollcall.reconciliations (source, listed, finished_at) values ('app', 'auth.users', now())"),
	},
	{
		code: "job_failed", place: "job retention", words: "the disk is full", remedy: "rollcall status",
		seed: run(`insert into rollcall.river_job (kind, args, state, finalized_at, errors) values
			('rollcall_job', '{"name": "retention"}', 'discarded', now(), array['{"error": "the disk is full"}'::jsonb])`),
		after: run(`insert into rollcall.river_job (kind, args, state, finalized_at) values ('rollcall_job', '{"name": "retention"}', 'completed', now())`),
	},
	{
		code: "replicas_differ", place: "table rollcall.replicas", words: "2 replicas run with 2 configurations", remedy: "rollcall status",
		seed:  run("insert into rollcall.replicas (id, config, configuration) values ('a', 1, '1f0a'), ('b', 1, '2f0a')"),
		after: run("update rollcall.replicas set configuration = '1f0a'"),
	},
	{
		code: "replicas_gone", place: "table rollcall.replicas", words: "no serve runs: the last one was there at", remedy: "rollcall serve",
		seed: run("insert into rollcall.replicas (id, config, seen_at) values ('a', 1, now() - interval '1 hour')"), after: run("delete from rollcall.replicas"),
	},
}
