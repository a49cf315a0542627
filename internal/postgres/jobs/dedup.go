package jobs

import (
	"context"
	"log/slog"
	"strings"
	"sync"
	"time"
)

// dedupHandler passes on those of River's warnings that concern the jobs, in our words, each message
// once a minute. The rest is for debugging: jobWorker logs how a job fails, and serve an outage of the
// database.
type dedupHandler struct {
	slog.Handler
	logged *messages
}

type messages struct {
	sync.Mutex
	at           map[string]time.Time
	since, until time.Time // of the trouble that goes on
}

const (
	dedupTime = time.Minute
	// troubleTime is how long the tables of the jobs may be away: a restart and the election of
	// a leader take less.
	troubleTime = 30 * time.Second
	// troublePause ends a trouble. River asks the database every second, and after errors every
	// minute.
	troublePause = 2 * time.Minute
)

// What becomes of a message of River's. Other values of wordsFor are our words for it.
const (
	internal = "" // for debugging
	trouble  = "jobs wait: their tables in the schema rollcall can't be used"
	leftOut  = "a job that was due is left out until its next time"
	notOurs  = "a row of rollcall.river_job is no job of Rollcall; look who has put it there"
	lost     = "the end of a job can't be written down; its next time waits until its timeout is over"
)

// wordsFor has every warning and error that the pinned version of River can log, without the
// name of River's part.
var wordsFor = map[string]string{
	"Error fetching jobs": trouble, "Error attempting to elect": trouble, "Error scheduling jobs": trouble,
	"Error rescuing jobs": trouble, "Error cleaning jobs": trouble, "Error starting queue maintainer": trouble,
	"Error completing batch": trouble, "Completer error (will retry after sleep)": trouble,
	"Error fetching queue settings": trouble, "Error fetching initial queue settings": trouble,
	"Hit maximum backlog; completions will wait until below threshold": trouble,

	"Error inserting periodic jobs":          leftOut,
	"Error starting transaction":             leftOut,
	"Error committing transaction":           leftOut,
	"Internal error generating periodic job": leftOut,

	"Job row couldn't be decoded; failing attempt without working it": notOurs, "Unhandled job kind": notOurs,
	"Attempted to rescue unhandled job kind, discarding": notOurs, "Error unmarshaling job args": notOurs,

	"Too many errors; giving up": lost, "Error completing job": lost, "Error snoozing job": lost,
	"Failed to discard job and report error": lost, "Failed to report error for job": lost,
	"Failed to cancel job and report error": lost, "Failed to make soft-stopped job available": lost,

	"Job appears to be stuck":                  "a job goes on although its time is over",
	"panic recovery; possible bug with Worker": "a job panicked outside of its own code",

	// A change of the leader: jobs wait for the next one, at most for some seconds.
	"Error keeping leadership":    internal,
	"Error attempting reelection": internal,
	"Error attempting to resign":  internal,
	"Current leader stepping down because the reelection deadline elapsed":                internal,
	"Current leader stepping down because the reelection deadline elapsed after an error": internal,
	"Queue maintainer failed to start after all attempts, requesting leader resignation":  internal,
	// A shutdown: serve says what did not end in time.
	"Soft stop timeout; cancelling remaining job contexts":   internal,
	"Error waiting on async completer":                       internal,
	"Failed to cleanly shutdown producer after all attempts": internal,
	"Error shutting down producer with pilot":                internal,
	// Notifications, which PollOnly does without.
	"Received unexpected notification": internal, "Unable to unmarshal leadership notification": internal,
	"Failed to unmarshal insert notification payload":       internal,
	"Failed to unmarshal job control notification payload":  internal,
	"Queue control notification dropped due to full buffer": internal,
	"Job cancel notification dropped due to full buffer":    internal,
	"Subscription event dropped due to full buffer":         internal,
	"Failed to send job insert notification":                internal,
	"Failed to send queue state change notification":        internal, "Error unlistening on topic": internal,
	"Error running listener (will attempt reconnect after backoff)": internal,
	"Error closing listener":    internal,
	"Error connecting listener": internal, "Dropping notification due to full buffer": internal,
	"Error on draining notification wait": internal,
	"Error from notification wait":        internal,
	"Error cleaning SQLite notifications": internal,
	// Bookkeeping that none of our jobs depends on, or that is done again.
	"Error initializing producer state": internal, "Error setting fetched queue metadata with pilot": internal,
	"Error updating queue metadata with pilot":             internal,
	"Queue row not found when polling for setting changes": internal,
	"Producer status update, error updating in database":   internal,
	"Queue status update, error updating in database":      internal,
	"Error fetching job cancellation requests":             internal,
	"job cancelled remotely":                               internal,
	"Error cleaning queues":                                internal,
	"Error upserting periodic job next run times":          internal, "Error setting periodic metadata": internal,
	"Error executing periodic job keep alive and reap": internal, "Error listing reindexable indexes": internal,
	"Error reindexing":                internal,
	"Error listing reindex artifacts": internal,
	"Error dropping reindex artifact": internal,
	"Configured reindex indexes do not exist; run migrations or update ReindexerIndexNames": internal,

	"Found reindex artifact likely resulting from previous partially completed reindex attempt; skipping reindex": internal,

	"Retry policy returned invalid next retry before current time; using default retry policy instead": internal,
	"ErrorHandler invocation panicked":                                      internal,
	"Failed to marshal metadata updates":                                    internal,
	"Failed to marshal attempt error":                                       internal,
	"job kind should match regex; this will be an error in future versions": internal,
}

func newDedup(handler slog.Handler) *dedupHandler {
	return &dedupHandler{handler, &messages{at: map[string]time.Time{}}}
}

// bare is a message without the name of River's part.
func bare(message string) string {
	if _, after, named := strings.Cut(message, ": "); named {
		return after
	}
	return message
}

// Enabled leaves out what is no warning.
func (h *dedupHandler) Enabled(_ context.Context, level slog.Level) bool {
	return level >= slog.LevelWarn
}

// Handle passes a line on in our words, or for debugging.
func (h *dedupHandler) Handle(ctx context.Context, r slog.Record) error {
	words, known := wordsFor[bare(r.Message)]
	switch {
	case !known:
		words = r.Message
	case words == trouble && !h.logged.lasts(r.Time):
		words = internal
	}
	if words == internal {
		r.Level = slog.LevelDebug
	} else {
		if h.logged.repeated(words, r.Time) {
			return nil
		}
		r = inOurWords(r, words)
	}
	if !h.Handler.Enabled(ctx, r.Level) {
		return nil
	}
	return h.Handler.Handle(ctx, r)
}

// inOurWords keeps what a line is about; of a trouble, which is about all jobs, the error.
func inOurWords(r slog.Record, words string) slog.Record {
	ours := slog.NewRecord(r.Time, r.Level, words, r.PC)
	r.Attrs(func(a slog.Attr) bool {
		if a.Key == "err" {
			a.Key = "error"
		}
		if words != trouble || a.Key == "error" {
			ours.AddAttrs(a)
		}
		return true
	})
	return ours
}

// lasts notes a trouble and reports whether it has gone on for longer than a restart.
func (m *messages) lasts(at time.Time) bool {
	m.Lock()
	defer m.Unlock()
	if at.Sub(m.until) > troublePause {
		m.since = at
	}
	m.until = at
	return at.Sub(m.since) >= troubleTime
}

// repeated reports whether this was logged within dedupTime, and notes it.
func (m *messages) repeated(words string, at time.Time) bool {
	m.Lock()
	defer m.Unlock()
	if at.Sub(m.at[words]) < dedupTime {
		return true
	}
	m.at[words] = at
	return false
}

// WithAttrs shares what was logged.
func (h *dedupHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	return &dedupHandler{h.Handler.WithAttrs(attrs), h.logged}
}

// WithGroup shares what was logged.
func (h *dedupHandler) WithGroup(name string) slog.Handler {
	return &dedupHandler{h.Handler.WithGroup(name), h.logged}
}
