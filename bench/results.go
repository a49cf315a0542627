//go:build bench

package main

import (
	"fmt"
	"slices"
	"time"
)

// results are the measurements by what was measured ("rollcall/64"), one of each round.
type results map[string][]measured

func (r results) add(key string, m measured) { r[key] = append(r[key], m) }

// field picks one figure of a measurement.
type field func(measured) float64

func perSecond(m measured) float64     { return m.PerSecond }
func p50(m measured) float64           { return float64(m.P50) }
func p99(m measured) float64           { return float64(m.P99) }
func batch(m measured) float64         { return m.Batch }
func allocated(m measured) float64     { return m.Allocated }
func serverTime(m measured) float64    { return float64(m.Server) / 1000 }
func ownTime(m measured) float64       { return float64(m.Candidate) / 1000 }
func generatorTime(m measured) float64 { return float64(m.Generator) / 1000 }
func peak(m measured) float64          { return m.PeakMiB }

// totalTime is the processor time of an event, of all processes, in microseconds.
func totalTime(m measured) float64 {
	return float64(m.Server+m.Candidate+m.Generator) / float64(time.Microsecond)
}

// median of a figure over the rounds; 0 when it was not measured.
func (r results) median(key string, f field) float64 {
	var values []float64
	for _, m := range r[key] {
		values = append(values, f(m))
	}
	return median(values)
}

func median(values []float64) float64 {
	if len(values) == 0 {
		return 0
	}
	values = slices.Sorted(slices.Values(values))
	n := len(values)
	return (values[(n-1)/2] + values[n/2]) / 2
}

// spread is a ratio over the rounds: what stood side by side is divided first.
type spread struct{ low, median, high float64 }

// ratio divides a figure of one by that of another, round by round.
func (r results) ratio(of, by string, f field) (spread, bool) {
	var values []float64
	for i := range min(len(r[of]), len(r[by])) {
		if d := f(r[by][i]); d > 0 {
			values = append(values, f(r[of][i])/d)
		}
	}
	if len(values) == 0 {
		return spread{}, false
	}
	return spread{slices.Min(values), median(values), slices.Max(values)}, true
}

// of is a ratio over the rounds, in words.
func (r results) of(key, by string, f field) string {
	s, _ := r.ratio(key, by, f)
	return fmt.Sprintf("%.2f (%.2f … %.2f)", s.median, s.low, s.high)
}

// goal is a figure to reach.
type goal struct {
	what   string
	of, by string
	field  field
	bound  float64
	atMost bool // else at least
}

// row is a goal and what became of it, as a line of a table.
func (r results) row(g goal) string {
	s, ok := r.ratio(g.of, g.by, g.field)
	if !ok {
		return fmt.Sprintf("| %s | %s | not measured | | |\n", g.what, g.wanted())
	}
	return fmt.Sprintf("| %s | %s | %.2f | %.2f … %.2f | %s |\n", g.what, g.wanted(), s.median, s.low, s.high, g.verdict(s.median))
}

func (g goal) wanted() string {
	if g.bound == 0 {
		return ""
	}
	if g.atMost {
		return fmt.Sprintf("≤ %.2f", g.bound)
	}
	return fmt.Sprintf("≥ %.2f", g.bound)
}

// verdict says by how much a bound is missed.
func (g goal) verdict(value float64) string {
	switch {
	case g.bound == 0:
		return ""
	case g.atMost && value > g.bound:
		return fmt.Sprintf("**missed** by %.0f %%", (value/g.bound-1)*100)
	case !g.atMost && value < g.bound:
		return fmt.Sprintf("**missed** by %.0f %%", (1-value/g.bound)*100)
	}
	return "reached"
}

// millis writes a duration, given in nanoseconds, in milliseconds.
func millis(ns float64) string { return fmt.Sprintf("%.2f", ns/float64(time.Millisecond)) }
