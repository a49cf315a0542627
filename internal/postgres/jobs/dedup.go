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
var wordsFor = byMessage(map[string][]string{
	trouble: {
		"Error fetching jobs", "Error attempting to elect", "Error scheduling jobs", "Error rescuing jobs",
		"Error cleaning jobs", "Error starting queue maintainer", "Error completing batch",
		"Completer error (will retry after sleep)", "Error fetching queue settings",
		"Error fetching initial queue settings", "Hit maximum backlog; completions will wait until below threshold",
	},
	leftOut: {
		"Error inserting periodic jobs", "Error starting transaction", "Error committing transaction",
		"Internal error generating periodic job",
	},
	notOurs: {
		"Job row couldn't be decoded; failing attempt without working it", "Unhandled job kind",
		"Attempted to rescue unhandled job kind, discarding", "Error unmarshaling job args",
	},
	lost: {
		"Too many errors; giving up", "Error completing job", "Error snoozing job",
		"Failed to discard job and report error", "Failed to report error for job",
		"Failed to cancel job and report error", "Failed to make soft-stopped job available",
	},
	"a job goes on although its time is over": {"Job appears to be stuck"},
	"a job panicked outside of its own code":  {"panic recovery; possible bug with Worker"},
	internal: {
		// A change of the leader: jobs wait for the next one, at most for some seconds.
		"Error keeping leadership", "Error attempting reelection", "Error attempting to resign",
		"Current leader stepping down because the reelection deadline elapsed",
		"Current leader stepping down because the reelection deadline elapsed after an error",
		"Queue maintainer failed to start after all attempts, requesting leader resignation",
		// A shutdown: serve says what did not end in time.
		"Soft stop timeout; cancelling remaining job contexts", "Error waiting on async completer",
		"Failed to cleanly shutdown producer after all attempts", "Error shutting down producer with pilot",
		// Notifications, which PollOnly does without.
		"Received unexpected notification", "Unable to unmarshal leadership notification",
		"Failed to unmarshal insert notification payload", "Failed to unmarshal job control notification payload",
		"Queue control notification dropped due to full buffer",
		"Job cancel notification dropped due to full buffer", "Subscription event dropped due to full buffer",
		"Failed to send job insert notification", "Failed to send queue state change notification",
		"Error unlistening on topic", "Error running listener (will attempt reconnect after backoff)",
		"Error closing listener", "Error connecting listener", "Dropping notification due to full buffer",
		"Error on draining notification wait", "Error from notification wait",
		"Error cleaning SQLite notifications",
		// Bookkeeping that none of our jobs depends on, or that is done again.
		"Error initializing producer state", "Error setting fetched queue metadata with pilot",
		"Error updating queue metadata with pilot", "Queue row not found when polling for setting changes",
		"Producer status update, error updating in database", "Queue status update, error updating in database",
		"Error fetching job cancellation requests", "job cancelled remotely", "Error cleaning queues",
		"Error upserting periodic job next run times", "Error setting periodic metadata",
		"Error executing periodic job keep alive and reap", "Error listing reindexable indexes", "Error reindexing",
		"Error listing reindex artifacts", "Error dropping reindex artifact",
		"Configured reindex indexes do not exist; run migrations or update ReindexerIndexNames",
		"Found reindex artifact likely resulting from previous partially completed reindex attempt; skipping reindex",
		"Retry policy returned invalid next retry before current time; using default retry policy instead",
		"ErrorHandler invocation panicked", "Failed to marshal metadata updates", "Failed to marshal attempt error",
		"job kind should match regex; this will be an error in future versions",
	},
})

// byMessage turns a map of what becomes of messages round.
func byMessage(messages map[string][]string) map[string]string {
	words := map[string]string{}
	for becomes, list := range messages {
		for _, message := range list {
			words[message] = becomes
		}
	}
	return words
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
