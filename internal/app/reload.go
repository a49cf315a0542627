package app

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"time"

	"rollcall/internal/admin"
	"rollcall/internal/config"
	"rollcall/internal/postgres/auditlog"
	"rollcall/internal/postgres/jobs"
	"rollcall/internal/postgres/transitions"
	"rollcall/internal/postgres/watch"
	"rollcall/internal/target"
)

// reloadTimeout bounds the check of the targets that are new or changed.
const reloadTimeout = 30 * time.Second

// reloadAtHangup reloads at each SIGHUP.
func (sv *service) reloadAtHangup(ctx context.Context) {
	for {
		select {
		case <-sv.options.Hangup:
			_, _ = sv.Reload(ctx, "signal:SIGHUP") // the log has the error
		case <-ctx.Done():
			return
		}
	}
}

// Reload reads the configuration anew and works by it from now on, or changes nothing and says why. A batch ends with
// the targets that it began with. Who is noted in rollcall.audit_log.
func (sv *service) Reload(ctx context.Context, who string) (admin.Reloaded, error) {
	ctx, cancel := context.WithTimeout(ctx, reloadTimeout)
	defer cancel()
	sv.reloading.Lock()
	defer sv.reloading.Unlock()
	next, found, done, err := sv.prepareReload(ctx)
	if err != nil {
		sv.log.Error("the configuration is not reloaded; nothing has changed", "error", err)
		return admin.Reloaded{}, err
	}
	sv.exchange(next)
	sv.registerOwn(ctx)
	sv.sayUnreadable(ctx, next.setup)
	sv.noteRemoved(done.Targets, time.Now())
	sv.sayWarnings(found)
	unfilled, err := sv.db.Backfills().Unfilled(ctx)
	if err != nil {
		sv.log.Warn("new targets can't be found until the next start", "error", err)
	}
	for _, u := range unfilled {
		done.Unfilled = append(done.Unfilled, u.Target)
	}
	entry := auditlog.Entry{Who: who, Action: "reload", Object: "configuration", Result: done.Configuration}
	_, noted := sv.replica.Note(ctx)
	if err := errors.Join(noted, auditlog.Note(ctx, sv.db.Pool(), entry)); err != nil {
		sv.log.Warn("the reload is not noted in the database", "error", err)
	}
	sv.log.Info("the configuration is reloaded", "configuration", done.Configuration, "added", done.Targets.Added,
		"changed", done.Targets.Changed, "removed", done.Targets.Removed, "unfilled", done.Unfilled)
	return done, nil
}

// prepareReload does all of a reload that may fail. Last it exchanges the targets.
func (sv *service) prepareReload(ctx context.Context) (*assembled, []target.Finding, admin.Reloaded, error) {
	done := admin.Reloaded{Unfilled: []string{}}
	if sv.options.Read == nil || !sv.prepared.Load() {
		return nil, nil, done, errors.New("serve is not ready yet; try it again once it is")
	}
	s, err := sv.options.Read()
	if err != nil {
		return nil, nil, done, err
	}
	if fixed := restartOnly(sv.setup().Config, s.Config); len(fixed) > 0 {
		fixed.Sort()
		return nil, nil, done, fmt.Errorf("serve must be started again for these changes:\n%w", fixed)
	}
	next, err := sv.assemble(s)
	if err != nil {
		return nil, nil, done, err
	}
	conditions, err := sv.checkConditions(ctx, s, sv.setup())
	if err = cmp.Or(err, unfitConditions(conditions)); err != nil {
		return nil, nil, done, err
	}
	done.Configuration = s.Hash()
	sv.unregistered.Store(true) // until Reload registers what counts then
	if err := sv.register(ctx, transitions.Both(sv.setup().rules(), s.rules())); err != nil {
		return nil, nil, done, err
	}
	var found []target.Finding
	done.Targets, found, err = sv.db.Watch().Reload(ctx, s.Targets)
	if errors.Is(err, watch.ErrUnfit) {
		var unfit config.Problems
		for _, f := range target.Faults(found) {
			unfit.Add(config.ParsePos(f.At), "target %s: %s", f.Target, f.What)
		}
		err = fmt.Errorf("%w:\n%w", err, unfit)
	}
	return next, found, done, err
}

// exchange puts what was assembled into service, whose targets are there already.
func (sv *service) exchange(next *assembled) {
	s := next.setup
	sv.db.SetLimits(s.database(sv.log))
	sv.pipeline.SetLimits(s.Config.Limits.Queue, s.Config.Limits.Wait)
	before := sv.now.Swap(next)
	for _, n := range before.says {
		n.Close()
	}
	sv.guard.Set(tokensOf(s))
	sv.receipts.Watch(s.receiptKeys()...)
	sv.server.Reload(sv.serving(next))
	sv.options.Setup.level.Set(s.logLevel())
	if running := sv.running.Load(); running != nil {
		if err := running.Change(next.jobs); err != nil {
			sv.log.Error("the jobs can't be changed; they run as before", "error", err)
		}
	}
	sv.replica.Reloaded(jobs.Configuration{Targets: sv.db.Targets().Fingerprint(), Hash: s.Hash()})
}

func (sv *service) sayWarnings(found []target.Finding) {
	for _, f := range found {
		sv.log.Warn("a target needs attention", "target", f.Target, "at", f.At, "warning", f.What)
	}
}

// removedAge is how long after a reload a batch may still end with the targets that it began with.
const removedAge = 20 * time.Second

// noteRemoved remembers what is to be forgotten. The caller holds reloading.
func (sv *service) noteRemoved(change watch.Change, now time.Time) {
	for _, name := range change.Added {
		delete(sv.removed, name)
	}
	for _, name := range change.Removed {
		sv.removed[name] = now
	}
}

// forgetRemoved deletes what is noted of targets that were removed some time ago. No other replica has them any more.
func (sv *service) forgetRemoved(ctx context.Context) {
	if !sv.reloading.TryLock() {
		return // the next time
	}
	defer sv.reloading.Unlock()
	var names []string
	for name, at := range sv.removed {
		if time.Since(at) > removedAge {
			names = append(names, name)
		}
	}
	if len(names) == 0 {
		return
	}
	slices.Sort(names)
	if err := sv.db.Watch().Forget(ctx, names); err != nil {
		sv.log.Warn("what is noted of targets that were removed can't be deleted yet", "targets", names, "error", err)
		return
	}
	for _, name := range names {
		delete(sv.removed, name)
	}
	sv.log.Info("deleted the parked users of targets that were removed, and how far they were filled", "targets", names)
}

// restartOnly lists the changes of a configuration for which serve must be started again.
func restartOnly(before, after *config.Config) config.Problems {
	var problems config.Problems
	add := func(path string, changed bool) {
		if changed {
			problems.Add(placeOf(after, path), "%s has changed", path)
		}
	}
	add("database", before.Database != after.Database)
	add("listen", before.Listen != after.Listen)
	add("admin_listen", before.AdminListen != after.AdminListen)
	add("log.format", before.Log.Format != after.Log.Format)
	had := map[string]config.Source{}
	for _, s := range before.Sources {
		had[s.Name] = s
	}
	for i := range after.Sources {
		s := &after.Sources[i]
		was, known := had[s.Name]
		delete(had, s.Name)
		if !known {
			problems.Add(s.Pos, "source %s is new", s.Name)
			continue
		}
		path := func(field string) string { return config.Path("sources", s.Name, field) }
		add(path("provider"), was.Provider != s.Provider)
		add(path("users_table"), was.UsersTable != s.UsersTable)
		add(path("session"), (was.Session == nil) != (s.Session == nil))
	}
	for _, name := range slices.Sorted(maps.Keys(had)) {
		problems.Add(placeOf(after, "sources"), "source %s is removed", name)
	}
	return problems
}

// placeOf is where a field stands, or the file alone for one that is left out.
func placeOf(c *config.Config, path string) config.Pos {
	if at := c.At(path); at.Line > 0 {
		return at
	}
	return config.Pos{File: c.At("database").File}
}

func sameAPI(a, b *config.API) bool {
	return a == b || a != nil && b != nil && a.URL == b.URL && a.Key.Equal(b.Key)
}

// sameSessions reports whether just-in-time sync is configured alike, but for its origins.
func sameSessions(a, b *Setup) bool {
	return reflect.DeepEqual(a.Sessions, b.Sessions) && a.Config.Sync.MaxAge == b.Config.Sync.MaxAge
}

// Hash tells a configuration from others. What replicas need not have in common, and secrets, do not count.
func (s *Setup) Hash() string {
	c := *s.Config
	c.Listen, c.AdminListen, c.Log, c.Targets = "", "", config.Log{}, nil
	c.Sources = slices.Clone(c.Sources)
	for i := range c.Sources {
		c.Sources[i].Pos = config.Pos{}
		c.Sources[i].Claims = slices.Clone(c.Sources[i].Claims)
		for j := range c.Sources[i].Claims {
			expr := &c.Sources[i].Claims[j].Expr
			*expr = target.Expr{SQL: expr.SQL}
		}
		if a := c.Sources[i].Admission; a != nil && a.Require != nil {
			rules := *a
			rules.Require = &target.Expr{SQL: a.Require.SQL}
			c.Sources[i].Admission = &rules
		}
	}
	c.Notify = slices.Clone(c.Notify)
	for i := range c.Notify {
		n := &c.Notify[i]
		if n.Pos = (config.Pos{}); n.Where != nil {
			n.Where = &target.Expr{SQL: n.Where.SQL}
		}
	}
	var rolls []string
	for i := range s.Targets {
		rolls = append(rolls, s.Targets[i].Roll)
	}
	text, err := json.Marshal(c)
	if err != nil {
		return "" // it has a form of its own, which holds nothing that can't be written
	}
	sum := sha256.Sum256(fmt.Appendf(text, " %d %s", target.Fingerprint(s.Targets), strings.Join(rolls, ",")))
	return hex.EncodeToString(sum[:8])
}
