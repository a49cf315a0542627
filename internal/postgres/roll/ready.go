package roll

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"rollcall/internal/event"
	"rollcall/internal/postgres/connection"
	"rollcall/internal/postgres/settle"
	"rollcall/internal/postgres/sqlstate"
)

// commits is what the last commit of the roll, or the last probe, says of the database.
type commits struct {
	probing sync.Mutex // one probe at a time
	mu      sync.Mutex
	failed  error
	until   time.Time // for how long that is believed without a probe
}

const (
	// commitHolds is for how long a commit that went well answers for the database.
	commitHolds = 2 * time.Second
	// failureHolds is for how long a failed commit does: a probe is smaller than a batch and may
	// find room where a batch finds none.
	failureHolds = time.Second
	// probePause is the pause between two probes: /readyz is open to any client.
	probePause = 500 * time.Millisecond
	// The probe ends before those who ask stop waiting: a connection that is cut off is lost.
	probeLock, probeStatement = 300 * time.Millisecond, 600 * time.Millisecond
	// idleProbe and repairProbe are the bytes of the probe's body. After a failure the body is
	// larger than the free space of single pages, so that a full disk shows.
	idleProbe, repairProbe = 100, 64 << 10
)

func (c *commits) set(err error, holds time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.failed, c.until = err, time.Now().Add(holds)
}

func (c *commits) last() (believed bool, failed error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return time.Now().Before(c.until), c.failed
}

// committed notes how a transaction that writes the roll has ended. What is the fault of the server or
// Rollcall's own schema fails all others, too. After a passing failure a probe tells.
func (c *commits) committed(err error) {
	switch {
	case err == nil:
		c.set(nil, commitHolds)
	case sqlstate.ClassOf(err) == sqlstate.Server || sqlstate.ClassOf(err) == sqlstate.Target:
		c.set(explainRefusal(err), failureHolds)
	default:
		_, failed := c.last()
		c.set(failed, 0)
	}
}

// Ready says why nothing can be committed; nil when it can. The last commit of the roll answers,
// or a probe, if that is too long ago or has failed. Targets have no part in it.
func (r *Roll) Ready(ctx context.Context) error {
	c := &r.commits
	c.probing.Lock()
	defer c.probing.Unlock()
	believed, failed := c.last()
	if believed {
		return failed
	}
	size := idleProbe
	if failed != nil {
		size = repairProbe
	}
	if err := r.tryCommit(ctx, size); err != nil {
		err = r.explainProbe(err)
		c.set(err, probePause)
		return err
	}
	c.set(nil, commitHolds)
	return nil
}

// tryCommit writes an event and a user as a webhook does, takes them back, and commits: that writes
// the log of the server and waits for its disk.
func (r *Roll) tryCommit(ctx context.Context, size int) error {
	conn, err := r.targets.Pool.Acquire(ctx)
	if err != nil {
		return err
	}
	defer conn.Release()
	defer settle.Leave(conn.Conn())
	id, now, body := rand.Text(), time.Now().UTC(), make([]byte, size)
	_, _ = rand.Read(body) // it never fails
	w := r.Work([]event.Event{{
		ID: id, Type: "probe", Op: event.Upsert, UserID: id, ReceivedAt: now, Body: body, // no source has an empty name
		User: &event.User{Row: event.Row{ID: id}, RawUserMetaData: "{}", RawAppMetaData: "{}"},
	}})
	steps := slices.Concat(settle.Begin([]any{connection.Milliseconds(probeLock), connection.Milliseconds(probeStatement)}), []settle.Step{{Kind: settle.Marking, SQL: "savepoint probe"}}, w.Open,
		[]settle.Step{{Kind: settle.Undoing, SQL: "rollback to savepoint probe"}, settle.End()})
	return settle.Run(ctx, conn.Conn(), steps)
}

// explainProbe says in words why a probe has failed.
func (r *Roll) explainProbe(err error) error {
	if errors.As(err, new(*pgconn.ConnectError)) {
		return r.targets.Pool.Explain(err)
	}
	if explained := r.targets.Pool.ExplainStandby(err); explained != err { //nolint:errorlint // the same one comes back
		return explained
	}
	return explainRefusal(err)
}

// explainRefusal says in words why the server commits nothing.
func explainRefusal(err error) error {
	var words string
	switch state := sqlstate.Of(err); {
	case state == "":
		return fmt.Errorf("ask the database: %w", err)
	case state == "53100":
		words = "the disk of the database server is full; free space there"
	case state == sqlstate.ReadOnlyTransaction:
		words = "the database takes no writes; let database name its primary"
	case strings.HasPrefix(state, "42"):
		words = "the schema rollcall is not as its migrations have left it, or may not be written; " +
			"undo what has changed it, and see who owns it"
	default:
		words = "the database refuses what every webhook writes"
	}
	return fmt.Errorf("%s: %w", words, sqlstate.Mask(err))
}
