package doctor

import "rollcall/internal/target"

// Severity says how grave a finding is.
type Severity string

// An Error keeps something from working; a Warning is about to, or keeps some users from being right; a Notice is
// worth knowing, and nothing is wrong because of it.
const (
	Error   Severity = "error"
	Warning Severity = "warning"
	Notice  Severity = "notice"
)

// ranks are the severities, the gravest first.
var ranks = map[Severity]int{Error: 0, Warning: 1, Notice: 2}

// The codes, but for those of package target.
const (
	serverTooOld         target.Code = "server_too_old"
	databaseUnreachable  target.Code = "database_unreachable"
	databaseMissing      target.Code = "database_missing"
	databaseLogin        target.Code = "database_login"
	databasePooler       target.Code = "database_pooler"
	databaseStandby      target.Code = "database_standby"
	databaseEncoding     target.Code = "database_encoding"
	connectionsLow       target.Code = "connections_low"
	roleConnections      target.Code = "role_connections"
	clockDifference      target.Code = "clock_difference"
	autovacuumOff        target.Code = "autovacuum_off"
	schemaMissing        target.Code = "schema_missing"
	schemaOld            target.Code = "schema_old"
	schemaRights         target.Code = "schema_rights"
	schemaOpen           target.Code = "schema_open"
	roleSuperuser        target.Code = "role_superuser"
	publicCreate         target.Code = "public_create"
	targetOut            target.Code = "target_out_of_service"
	backfillMissing      target.Code = "backfill_missing"
	backfillOpen         target.Code = "backfill_open"
	referenceUnindexed   target.Code = "reference_unindexed"
	parkedGivenUp        target.Code = "parked_given_up"
	parkedLong           target.Code = "parked_long"
	targetDiffers        target.Code = "target_differs"
	targetOverruled      target.Code = "target_overruled"
	checkOld             target.Code = "check_old"
	scheduleCannotRead   target.Code = "schedule_cannot_read"
	sessionCannotRead    target.Code = "session_cannot_read"
	usersTableMissing    target.Code = "users_table_missing"
	usersTableHidden     target.Code = "users_table_hidden"
	usersTableUnreadable target.Code = "users_table_unreadable"
	usersTableColumns    target.Code = "users_table_columns"
	usersTableOther      target.Code = "users_table_other"
	captureDisabled      target.Code = "capture_disabled"
	captureOtherSource   target.Code = "capture_other_source"
	captureOld           target.Code = "capture_old"
	captureWaits         target.Code = "capture_waits"
	sourceUnfed          target.Code = "source_unfed"
	sourceHooksOnly      target.Code = "source_hooks_only"
	triggerWritesTarget  target.Code = "trigger_writes_target"
	triggerSearchPath    target.Code = "trigger_search_path"
	triggerRights        target.Code = "trigger_rights"
	sourceSilent         target.Code = "source_silent"
	sourceUnverified     target.Code = "source_unverified"
	secretUnused         target.Code = "secret_unused"
	usersKept            target.Code = "users_kept"
	reconcileFailed      target.Code = "reconcile_failed"
	reconcileIncomplete  target.Code = "reconcile_incomplete"
	reconcileNever       target.Code = "reconcile_never"
	reconcileOld         target.Code = "reconcile_old"
	jobFailed            target.Code = "job_failed"
	replicasDiffer       target.Code = "replicas_differ"
	replicasGone         target.Code = "replicas_gone"
	eventsLarge          target.Code = "events_large"
	eventsVacuum         target.Code = "events_vacuum"
	eventsAutovacuum     target.Code = "events_autovacuum"
	retentionBehind      target.Code = "retention_behind"
	retentionNone        target.Code = "retention_none"
	apiKeyKind           target.Code = "api_key_kind"
	apiKeyRefused        target.Code = "api_key_refused"
	apiOtherInstance     target.Code = "api_other_instance"
	apiUnreachable       target.Code = "api_unreachable"
	authServerOld        target.Code = "auth_server_old"
	authServerConfirms   target.Code = "auth_server_autoconfirm"
	claimsMissing        target.Code = "claims_missing"
	claimsOld            target.Code = "claims_old"
	claimsOpen           target.Code = "claims_open"
	claimsClosed         target.Code = "claims_closed"
	claimsRefused        target.Code = "claims_refused"
	admissionClosed      target.Code = "admission_closed"
	admissionBoth        target.Code = "admission_both"
	admissionSlow        target.Code = "admission_slow"
	notificationRefused  target.Code = "notification_refused"
	notificationPrivate  target.Code = "notification_private"
	notificationBacklog  target.Code = "notification_backlog"
	notificationGivenUp  target.Code = "notification_given_up"
	notificationUnowned  target.Code = "notification_unowned"
)

// Kind describes the findings of one code.
type Kind struct {
	Code     target.Code
	Severity Severity
	Meaning  string // what it means, for the page
	Do       string // what to do, for the page
}

// Kinds are all that there are. docs/doctor.md and the labels of the metric follow from it.
var Kinds = []Kind{
	{"config_syntax", Error, "the configuration is no YAML that can be read", "correct the place; quotes around a text help most"},
	{"config_field", Error, "a field is unknown, missing, or another provider's", "spell it as the configuration's reference does"},
	{"config_variable", Error, "a variable of the environment, or its file, is missing", "set it"},
	{"config_value", Error, "a value is none that the field takes", "write one that it takes"},
	{"config_secret", Error, "a secret is not of the provider's form", "copy it again, whole"},

	{databaseUnreachable, Error, "no PostgreSQL answers at the address of `database`", "start it, or correct the address"},
	{databaseMissing, Error, "the server has no database of this name", "create it, or correct the name"},
	{databaseLogin, Error, "the role, its password, or its right to connect is missing", "create it or correct the password"},
	{databasePooler, Error, "a transaction pooler answers, and Rollcall needs sessions", "connect directly or to a [session pooler](operating.md#poolers)"},
	{databaseStandby, Error, "the server is a standby", "name the primary"},
	{databaseEncoding, Warning, "the database is not UTF8: some texts are refused", "move to a database with `encoding 'UTF8'`"},
	{serverTooOld, Error, "PostgreSQL is older than 14", "upgrade it"},
	{connectionsLow, Warning, "the server has hardly a connection left", "end others, or raise `max_connections`"},
	{roleConnections, Warning, "the role's connection limit is below what a replica takes", "raise it, or lower `pool_max_conns`"},
	{clockDifference, Warning, "the clocks of this machine and of the database differ", "correct them"},
	{autovacuumOff, Warning, "autovacuum is off at the server", "turn it on"},
	{schemaMissing, Error, "there is no schema `rollcall` yet", "`rollcall migrate`"},
	{schemaOld, Error, "migrations have not run", "`rollcall migrate`: [upgrading](upgrading.md)"},
	{schemaRights, Error, "the role lacks rights to Rollcall's own tables", "run the grants as their owner"},
	{schemaOpen, Error, "PUBLIC or a client role has rights to Rollcall's own tables", "revoke them"},
	{roleSuperuser, Notice, "Rollcall's role is a superuser", "give it [a role of its own](operating.md#the-database-role)"},
	{publicCreate, Notice, "other roles may create functions in schema `public`", "revoke it: [security](security.md#who-can-act-as-rollcalls-role)"},

	{target.TableClosed, Error, "the table is the provider's, Rollcall's or PostgreSQL's", "name a table of the application"},
	{target.TableMissing, Error, "there is no table of this name", "create it, or correct the name"},
	{target.TableKind, Error, "it is a view or another thing without rows of its own", "name the table itself"},
	{target.Rights, Error, "the role lacks a right that the target needs", "run the grant as the owner"},
	{target.RowSecurity, Error, "row security hides the table's rows from the role", "connect as the owner, or give the role `bypassrls`"},
	{target.ColumnMissing, Error, "the table has no such column", "correct the name; it is exact"},
	{target.ColumnGenerated, Error, "PostgreSQL fills the column by itself", "leave it out"},
	{target.ColumnRequired, Error, "a column is not null, has no default and gets no value", "give it one in `on_insert`, or a default"},
	{target.KeyIndex, Error, "the key has no unique index", "create it"},
	{target.KeyIncomplete, Error, "the key does not tell users apart, or is not in `set`", "make it from `new.id`: [key](targets.md)"},
	{target.KeyChanges, Error, "the key is made from a field that may change", "make it from `new.id`"},
	{target.KeyType, Error, "a column can't hold the ids of a source, or calls different ids equal", "change its type, or leave the source out of `from`"},
	{target.MatchInvalid, Error, "`match` names a column that no user can be found by, or the key may not be null", "correct it: [what the table needs](adoption.md#what-the-table-needs)"},
	{target.MatchIndex, Error, "`match` finds rows by `lower(column)`, which has no index", "create it"},
	{target.ExpressionInvalid, Error, "an expression is no SQL expression, mostly a text that lost its quotes", "[SQL inside YAML](targets.md#sql-inside-yaml)"},
	{target.ExpressionRefused, Error, "PostgreSQL refuses an expression", "correct it by PostgreSQL's words"},
	{target.StatementRefused, Error, "PostgreSQL refuses a statement of the target", "correct the table by PostgreSQL's words"},
	{target.DefaultRefused, Error, "PostgreSQL refuses the default of a column that inserts leave to it", "correct the default"},
	{target.ReadsItself, Error, "an expression reads the target's own table", "use a default, a trigger or a job of the application"},
	{target.TextCast, Warning, "a text that users write goes into a column of another type", "write the cast, or compute the type"},
	{target.ClaimInvalid, Error, "a claim is no SQL expression, or has a name that Supabase gives", "correct the place"},
	{target.OnDeleteKey, Error, "`on_delete` sets the key", "leave it out"},
	{target.OnDeleteNull, Error, "`on_delete` makes a column null that must not be", "give it a value, or drop the constraint"},
	{target.OnDeleteUnmarked, Error, "nothing would tell that a row is in its deleted form", "add a column such as `deleted_at`"},
	{target.ReferenceBlocks, Warning, "a foreign key keeps the provider from deleting its users", "run the statement: [foreign keys](supabase.md#foreign-keys-to-authusers)"},
	{target.ReferenceDeletes, Warning, "a foreign key deletes the rows that `on_delete` keeps", "run the statement"},
	{target.Unchecked, Warning, "the table is locked, so that the target can't be checked", "wait, or end the session that holds it"},
	{targetOut, Error, "PostgreSQL refuses the table as a whole, while `serve` runs", "see the message; users are settled once it works"},
	{targetDiffers, Warning, "the last check has found users out of step", "`rollcall check --repair`"},
	{targetOverruled, Notice, "triggers of the table change or suppress what Rollcall writes", "nothing, if it is meant: [checking](operating.md#checking)"},
	{checkOld, Warning, "the nightly check has not run for two days", "see whether `serve` runs, and its log"},
	{backfillMissing, Warning, "a target lacks the users from before it", "`rollcall backfill TARGET`"},
	{backfillOpen, Warning, "a backfill was interrupted", "run it again: it goes on"},
	{referenceUnindexed, Warning, "a foreign key to a target's table has no index: deletions are slow", "create the index"},
	{parkedGivenUp, Warning, "a target has refused users until they were given up", "correct the table or the users, then `rollcall parked retry TARGET`"},
	{parkedLong, Warning, "a target refuses users for more than an hour", "`rollcall parked` says why: [parked users](troubleshooting.md#parked-users)"},

	{usersTableMissing, Error, "`users_table` names no table of this database", "correct it, or write `none`"},
	{usersTableHidden, Warning, "row security hides the provider's users", "run the statement, or the script of `capture install --print`"},
	{usersTableUnreadable, Warning, "the role may not read the provider's users", "[the script](supabase.md#hosted)"},
	{usersTableColumns, Warning, "some columns of the provider's users can't be read", "grant them, or run the script again"},
	{usersTableOther, Error, "the table has none of the roll's users", "correct `database` or `users_table`"},
	{scheduleCannotRead, Error, "a schedule reconciles a table that can't be read", "[the script](supabase.md#hosted)"},
	{sessionCannotRead, Error, "just-in-time sync needs a table that can't be read", "[the script](supabase.md#hosted)"},
	{captureDisabled, Error, "the capture's trigger is disabled", "enable it, then `rollcall reconcile SOURCE`"},
	{captureOtherSource, Error, "the capture's trigger is for another source", "remove it and install it again"},
	{captureOld, Warning, "the capture's trigger is of an older version", "`rollcall capture install`: [upgrading](upgrading.md#to-capture-by-ids)"},
	{captureWaits, Error, "captured changes wait and are not applied", "start `serve`, or see in its log why it does not"},
	{triggerWritesTarget, Warning, "an old trigger on the provider's table writes a target's table", "drop it: [migrating](migrating.md)"},
	{triggerSearchPath, Warning, "a trigger function on the provider's table has no `search_path` of its own", "set it"},
	{triggerRights, Error, "a trigger function on the provider's table may not write what it writes", "grant it, or drop the trigger"},
	{sourceUnfed, Error, "nothing reports the changes of a source", "install the capture, or give the source a secret"},
	{sourceHooksOnly, Warning, "only hooks report a source, which miss updates and deletions", "install the capture, or add `database_webhook` or a schedule"},
	{sourceSilent, Warning, "a source that sent something each day has sent nothing for three days", "look at the endpoint at the provider, which may have disabled it; then `rollcall reconcile SOURCE`"},
	{sourceUnverified, Warning, "more than a tenth of a source's requests don't verify", "copy the secret again: [refused requests](troubleshooting.md#requests-that-are-refused)"},
	{secretUnused, Warning, "a secret has verified nothing for three days", "copy it again, or leave it out once a rotation is over"},
	{usersKept, Warning, "columns of users keep their last known value", "correct the metadata at the provider: [checking](operating.md#checking)"},

	{apiKeyKind, Error, "the API's key is a development instance's, and the issuer a production instance's, or the reverse", "copy the key of the instance"},
	{apiKeyRefused, Error, "the provider refuses the API's key", "copy the secret key again"},
	{apiOtherInstance, Error, "the API knows none of the roll's users", "copy the key of the right instance"},
	{apiUnreachable, Warning, "the provider's API does not answer", "see the proxy, the firewall, or the provider's status"},
	{claimsMissing, Warning, "the function that adds a source's claims to access tokens is not there", "`rollcall claims install`, and choose it in the dashboard: [claims](claims.md)"},
	{claimsOld, Warning, "it is older than the configuration, or was changed by hand", "`rollcall claims install`"},
	{claimsOpen, Error, "others than the auth server may call it, and learn what claims any user has", "revoke it"},
	{claimsClosed, Error, "the auth server may not call it: no user can sign in", "`rollcall claims install`"},
	{claimsRefused, Error, "PostgreSQL refuses the expression of a claim", "correct it by PostgreSQL's words"},
	{authServerOld, Error, "the auth server is older than v2.187 and ignores refusals", "upgrade it, or admit: [admission](admission.md#the-auth-server)"},
	{authServerConfirms, Error, "the auth server verifies no address, and a target has `match`: rows go to whoever names their address", "turn *Confirm email* on, or take `match` out: [adoption](adoption.md#what-the-table-needs)"},
	{admissionClosed, Error, "a source has rules about sign-ups, and its hook is closed: they are never asked", "give the source its `signing_secrets`: [admission](admission.md)"},
	{admissionBoth, Warning, "a domain is allowed and denied: it is refused", "take it from one of the lists"},
	{admissionSlow, Warning, "the condition about sign-ups takes long, and is given up after 400 ms", "give the tables that it reads an index"},
	{reconcileFailed, Warning, "the last reconciliation failed", "see its error: [reconcile](troubleshooting.md#reconcile)"},
	{reconcileIncomplete, Warning, "the last reconciliation could not bring some rows up to date", "the log names them"},
	{reconcileNever, Warning, "a schedule has never led to a success", "run it by hand and see"},
	{reconcileOld, Warning, "a schedule has been missed twice", "see whether `serve` runs, and its log"},
	{notificationRefused, Warning, "a receiver of notifications has refused them for more than an hour", "see its log, then `rollcall notifications NAME`"},
	{notificationPrivate, Error, "the address of a receiver is not public, and nothing is sent to it", "correct the URL, or set `allow_private`"},
	{notificationBacklog, Warning, "more than 10,000 notifications of a name wait; beyond 100,000 the oldest are given up", "see whether its receiver is fast enough"},
	{notificationGivenUp, Warning, "notifications have failed for good", "`rollcall notifications NAME --failed` says why, then `rollcall notifications retry NAME`"},
	{notificationUnowned, Notice, "notifications wait that no running replica has in its configuration", "configure the name again, or delete them"},
	{jobFailed, Warning, "the last run of a job failed", "see its error"},
	{replicasDiffer, Warning, "replicas run with different configurations", "give all of them the same configuration"},
	{replicasGone, Error, "no `serve` runs, and the last one was not stopped", "start it; its log says why it ended"},
	{eventsLarge, Warning, "`rollcall.events` is large", "lower [retention](configuration.md#retention)"},
	{eventsVacuum, Warning, "most rows of `rollcall.events` are dead", "vacuum it, and see what holds autovacuum back"},
	{eventsAutovacuum, Warning, "autovacuum is off for `rollcall.events`", "turn it on"},
	{retentionBehind, Warning, "events are older than their retention", "see whether `serve` runs, and its log"},
	{retentionNone, Warning, "events are kept for ever", "set [retention](configuration.md#retention)"},
}

// KindOf describes a code; one that is missing from Kinds is a warning.
func KindOf(code target.Code) Kind {
	for _, k := range Kinds {
		if k.Code == code {
			return k
		}
	}
	return Kind{Code: code, Severity: Warning}
}
