package console

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
)

const (
	// kept is for how long the metrics of this replica are kept, a value each step.
	kept = 3 * time.Hour
	step = time.Minute
	// points is how many values a curve has.
	points = int(kept / step)
)

// recent is what this replica's metrics were in the last hours. It is lost with the process.
type recent struct {
	metrics prometheus.Gatherer

	mu     sync.Mutex
	noted  time.Time
	totals map[string]float64   // of counters, when they were last read
	curves map[string][]float64 // the newest value last
}

func newRecent(metrics prometheus.Gatherer) *recent {
	return &recent{metrics: metrics, totals: map[string]float64{}, curves: map[string][]float64{}}
}

// watched are the metrics that are drawn. Of a counter the curve is what was added in each step.
var watched = []struct{ metric, name string }{
	{"rollcall_webhooks_total", ""}, // named by source and outcome
	{"rollcall_queue_events", "waiting events"},
	{"rollcall_capture_oldest_seconds", "capture lag, seconds"},
}

// note reads the metrics once each step.
func (r *recent) note(now time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.metrics == nil || now.Sub(r.noted) < step {
		return
	}
	first := r.noted.IsZero()
	r.noted = now
	families, _ := r.metrics.Gather() // what fails is missing
	values := map[string]reading{}
	for _, f := range families {
		for _, w := range watched {
			if f.GetName() == w.metric {
				read(f, w.name, values)
			}
		}
	}
	for name, read := range values {
		value := read.value
		if read.counter {
			value -= r.totals[name]
			r.totals[name] = read.value
		}
		if first && read.counter {
			value = 0 // from before this process was watched
		}
		curve := r.curves[name]
		if curve == nil {
			curve = make([]float64, points)
		}
		r.curves[name] = append(curve[1:], value)
	}
}

// reading is the value of a metric; that of a counter only grows.
type reading struct {
	value   float64
	counter bool
}

// read adds the values of a metric, counters by source and outcome.
func read(f *dto.MetricFamily, name string, values map[string]reading) {
	for _, m := range f.GetMetric() {
		labels := map[string]string{}
		for _, l := range m.GetLabel() {
			labels[l.GetName()] = l.GetValue()
		}
		switch {
		case m.GetCounter() != nil:
			key := labels["source"] + " " + labels["outcome"]
			values[key] = reading{values[key].value + m.GetCounter().GetValue(), true}
		case m.GetGauge() != nil:
			values[strings.TrimSpace(labels["source"]+" "+name)] = reading{value: m.GetGauge().GetValue()}
		}
	}
}

// series is a curve as a page shows it.
type series struct {
	Name string
	// Points are those of an SVG polyline in a box of 120 by 24.
	Points    string
	Last, Max float64
}

// series are the curves in which there is something.
func (r *recent) series() []series {
	r.mu.Lock()
	defer r.mu.Unlock()
	var list []series
	for _, name := range slices.Sorted(maps.Keys(r.curves)) {
		curve := r.curves[name]
		most := slices.Max(curve)
		if most == 0 {
			continue
		}
		var line strings.Builder
		for i, value := range curve {
			fmt.Fprintf(&line, "%.1f,%.1f ", float64(i)*120/float64(points-1), 23-22*value/most)
		}
		list = append(list, series{name, strings.TrimSpace(line.String()), curve[len(curve)-1], most})
	}
	return list
}
