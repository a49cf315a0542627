package app

import (
	"context"
	"strings"
	"testing"

	"rollcall/internal/must"
	"rollcall/internal/pgtest"
)

const (
	oldNotify = "notify: {old: {on: [appeared], channel: old}}\n"
	newNotify = "notify: {old: {on: [deleted], from: [clerk], channel: old}, new: {on: [banned], channel: new}}\n"
	rulesSQL  = "select name || ' ' || array_to_string(transitions, ',') from rollcall.rules order by name"
)

func (r *reloadable) awaitRules(want ...string) {
	r.t.Helper()
	must.Await(r.t, "rules "+strings.Join(want, "; "), func() bool {
		return strings.Join(r.Rows(rulesSQL), "; ") == strings.Join(want, "; ")
	}, r.log)
}

// A reload that fails, even by its time, leaves the rules of the configuration that stays. Until then both count.
func TestRulesOutliveAFailedReload(t *testing.T) {
	t.Parallel()
	r := startReloadable(t)
	r.write(reloadConfig + oldNotify)
	r.reload(reloadedLine)
	r.awaitRules("old appeared")
	r.write(reloadConfig + moreTarget + newNotify)
	holder := pgtest.Connect(t, r.url)
	holder.Run("begin; lock table more in access exclusive mode")
	ctx, cancel := context.WithCancel(t.Context())
	failed := make(chan error, 1)
	go func() { _, err := r.sv.Reload(ctx, "test"); failed <- err }()
	r.awaitRules("new banned", "old appeared,deleted")
	cancel()
	must.True(t, <-failed != nil, "the reload has not failed")
	holder.Run("rollback")
	r.awaitRules("old appeared")
}

// Rules that another replica has taken for those of one that is gone are registered again: at the first note of a
// slow start, and once a reload no longer keeps them from it.
func TestRulesAreRegisteredAgain(t *testing.T) {
	t.Parallel()
	r := startReloadable(t)
	r.write(reloadConfig + oldNotify)
	r.reload(reloadedLine)
	r.awaitRules("old appeared")
	r.sv.reloading.Lock()
	r.sv.unregistered.Store(true)
	r.Run("delete from rollcall.rules")
	r.sv.registerAgain(t.Context())
	must.Equal(t, r.Rows(rulesSQL), []string{}, "rules while a reload is under way")
	r.sv.reloading.Unlock()
	r.awaitRules("old appeared")
}

// A start may take so long that another replica has taken the rules away by the first note.
func TestFirstNoteRegisters(t *testing.T) {
	t.Parallel()
	r := startReloadable(t)
	r.write(reloadConfig + oldNotify)
	o := r.sv.options
	o.Setup = must.Get(r.read())(t)
	late := must.Get(newService(o, r.sv.db))(t)
	ctx, cancel := context.WithCancel(t.Context())
	watching := make(chan struct{})
	go func() { late.watchReplicas(ctx); close(watching) }()
	r.awaitRules("old appeared")
	cancel()
	<-watching
}
