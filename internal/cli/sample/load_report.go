package sample

import (
	"cmp"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"rollcall/internal/cli"
	"rollcall/internal/cli/operate"
	"rollcall/internal/event"
	generator "rollcall/internal/load"
	"rollcall/internal/postgres/audit"
	"rollcall/internal/target"
)

// loadReport is the result of load, as --output json prints it.
type loadReport struct {
	Run             string           `json:"run"`
	URL             string           `json:"url"`
	Source          string           `json:"source"`
	IDs             string           `json:"ids"`
	Connections     int              `json:"connections"`
	Rate            float64          `json:"rate"`
	Mix             string           `json:"mix"`
	Users           int              `json:"users"`
	DurationSeconds float64          `json:"duration_seconds"`
	Interrupted     bool             `json:"interrupted"`
	ElapsedSeconds  float64          `json:"elapsed_seconds"`
	Requests        int64            `json:"requests"`
	Accepted        int64            `json:"accepted"`
	Refused         int64            `json:"refused"`
	Failed          int64            `json:"failed"`
	Unsent          int64            `json:"unsent"`
	Throughput      float64          `json:"throughput"`
	Latency         loadLatency      `json:"latency_seconds"`
	Outcomes        map[string]int64 `json:"outcomes"`
	Events          map[string]int64 `json:"events"`
	Errors          map[string]int64 `json:"errors"`
	GeneratorCores  float64          `json:"generator_cores"`
	// Parked says who is parked and why, users of earlier events included.
	Parked []audit.ParkedGroup `json:"parked,omitempty"`

	duration time.Duration
	result   generator.Result
	remove   []string // statements that remove its users
}

// loadLatency is in seconds.
type loadLatency struct {
	P50  float64 `json:"p50"`
	P90  float64 `json:"p90"`
	P99  float64 `json:"p99"`
	P999 float64 `json:"p999"`
	Max  float64 `json:"max"`
}

func newLoadReport(o loadOptions, to loadTarget, run uint32, r generator.Result) *loadReport {
	seconds, l := r.Elapsed.Seconds(), r.Latency
	return &loadReport{
		Run: fmt.Sprintf("%08x", run), URL: to.base, Source: to.source.Name(), IDs: generator.IDs(to.source.Provider(), run),
		Connections: o.connections, Rate: o.rate, Mix: o.mix.String(), Users: o.users, DurationSeconds: o.duration.Seconds(),
		Interrupted: r.Interrupted, ElapsedSeconds: seconds,
		Requests: r.Requests, Accepted: r.Accepted, Refused: r.Refused, Failed: r.Failed, Unsent: r.Unsent,
		Throughput: float64(r.Accepted) / seconds,
		Latency:    loadLatency{l.P50.Seconds(), l.P90.Seconds(), l.P99.Seconds(), l.P999.Seconds(), l.Max.Seconds()},
		Outcomes:   r.Outcomes, Events: r.Events, Errors: r.Errors, GeneratorCores: r.CPU.Seconds() / seconds,
		duration: o.duration, result: r, remove: to.removals(run),
	}
}

// removals are the statements that remove a run's users, and what they were members of. No deletion could: the roll
// would keep their tombstones, and a target what its on_delete keeps. Members go before users and teams.
func (to loadTarget) removals(run uint32) []string {
	name, users := to.source.Name(), generator.IDs(to.source.Provider(), run)
	organizations, memberships := generator.TeamIDs(to.source.Provider(), run)
	ids := map[*event.Roll]string{&event.Memberships: memberships, &event.Users: users, &event.Organizations: organizations}
	var rows, parked, rolls []string
	for _, roll := range []*event.Roll{&event.Memberships, &event.Users, &event.Organizations} {
		if ids[roll] == "" {
			continue
		}
		like := map[string]string{"new.id": ids[roll], "new.user_id": users}
		for _, t := range to.setup.Targets {
			if statement := removalOf(&t, name, like); statement != "" && event.RollNamed(t.Roll) == roll {
				rows = append(rows, statement)
			}
		}
		parked = append(parked, fmt.Sprintf("delete from rollcall.parked where source = '%s' and user_id like '%s'", name, ids[roll]))
		rolls = append(rolls, fmt.Sprintf("delete from %s where source = '%s' and id like '%s'", roll.Table, name, ids[roll]))
	}
	events := fmt.Sprintf("delete from rollcall.events where source = '%s' and user_id like '%s'", name, users)
	return slices.Concat(rows, parked, []string{events}, rolls)
}

// text writes the report for people.
func (r *loadReport) text(to io.Writer) error {
	pace, users := "as fast as it goes", ""
	if r.Rate > 0 {
		pace = fmt.Sprintf("%g/s", r.Rate)
	}
	if r.Users > 0 {
		users = fmt.Sprintf(", %s users at most", cli.Grouped(int64(r.Users)))
	}
	fmt.Fprintf(to, "%s at %s: %d connections, %s, %s%s, for %v\n", r.Source, r.URL, r.Connections, pace, r.Mix, users, r.duration)
	early := ""
	if r.Interrupted {
		early = ", interrupted"
	}
	fmt.Fprintf(to, "accepted\t%s in %.1f s%s, %s/s\n", cli.Grouped(r.Accepted), r.ElapsedSeconds, early, cli.Grouped(int64(r.Throughput)))
	fmt.Fprintf(to, "latency\t%s\n", r.sayLatency())
	fmt.Fprintf(to, "outcomes\t%s\n", sayCounts(r.Outcomes))
	for _, line := range operate.ParkedLines(r.Parked) {
		fmt.Fprintf(to, "\t%s\n", line)
	}
	fmt.Fprintf(to, "events\t%s\n", sayCounts(r.Events))
	fmt.Fprintf(to, "errors\t%s\n", r.sayErrors())
	fmt.Fprintf(to, "load itself\t%.2f cores\n", r.GeneratorCores)
	fmt.Fprintf(to, "its users\tselect * from rollcall.users where source = '%s' and id like '%s'\n", r.Source, r.IDs)
	_, err := fmt.Fprintf(to, "to remove\tbegin;\n\t%s;\n\tcommit;\n", strings.Join(r.remove, ";\n\t"))
	return err
}

func (r *loadReport) sayErrors() string {
	said := sayCounts(r.Errors)
	if r.result.Example != nil {
		said += event.Printable(fmt.Sprintf(" (such as: %v)", r.result.Example))
	}
	if r.Unsent > 0 {
		said += fmt.Sprintf("; %s were due and found no connection", cli.Grouped(r.Unsent))
	}
	return said
}

// sayLatency writes milliseconds; none, where nothing was accepted.
func (r *loadReport) sayLatency() string {
	if r.Accepted == 0 {
		return "none"
	}
	l := r.result.Latency
	ms := func(d time.Duration) string { return fmt.Sprintf("%.1f", float64(d.Microseconds())/1000) }
	return fmt.Sprintf("p50 %s  p90 %s  p99 %s  p99.9 %s  max %s ms", ms(l.P50), ms(l.P90), ms(l.P99), ms(l.P999), ms(l.Max))
}

// sayCounts begins with the most frequent.
func sayCounts(counts map[string]int64) string {
	names := slices.SortedFunc(maps.Keys(counts), func(a, b string) int {
		return cmp.Or(cmp.Compare(counts[b], counts[a]), cmp.Compare(a, b))
	})
	var parts []string
	for _, name := range names {
		if counts[name] > 0 {
			parts = append(parts, name+" "+cli.Grouped(counts[name]))
		}
	}
	if parts == nil {
		return "none"
	}
	return strings.Join(parts, "  ")
}

// loadView is a line on a terminal that says every second how it goes. Elsewhere it shows
// nothing.
type loadView struct {
	out   io.Writer // nil where standard error is no terminal
	since time.Duration
}

func (v *loadView) show(s generator.Snapshot) {
	v.since += s.For
	if v.out == nil {
		return
	}
	said := fmt.Sprintf("%s%3.0f s  %s/s  p50 %.1f  p99 %.1f  max %.1f ms", cli.EraseLine, v.since.Seconds(), cli.Grouped(int64(float64(s.Accepted)/s.For.Seconds())),
		s.Latency.P50.Seconds()*1000, s.Latency.P99.Seconds()*1000, s.Latency.Max.Seconds()*1000)
	if s.Refused+s.Failed > 0 {
		said += fmt.Sprintf("  %s refused  %s failed", cli.Grouped(s.Refused), cli.Grouped(s.Failed))
	}
	fmt.Fprint(v.out, said)
}

// clear takes the line away: the result speaks for itself.
func (v *loadView) clear() {
	if v.out != nil && v.since > 0 {
		fmt.Fprint(v.out, cli.EraseLine)
	}
}

// removalOf is a statement that removes the rows of those whose ids are like a pattern, for people to run; like has the
// pattern for each expression that is such an id, as new.id. It is "" where the target doesn't follow the source, or
// has no column of its key that is one of these.
func removalOf(t *target.Target, source string, like map[string]string) string {
	if !t.Follows(source) {
		return ""
	}
	for _, a := range t.Set {
		pattern, isID := like[strings.TrimSpace(a.Expr.SQL)]
		if isID && slices.Contains(t.Key, a.Column) {
			return fmt.Sprintf("delete from %s where %s::text like %s", target.QuoteTable(t.Table), target.Quote(a.Column), target.Literal(pattern))
		}
	}
	return ""
}
