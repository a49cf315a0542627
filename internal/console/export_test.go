package console

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// What the package's tests reach.

// Watched are the names of the metrics that are drawn.
func Watched() (names []string) {
	for _, w := range watched {
		names = append(names, w.metric)
	}
	return names
}

// Curve is a curve with its newest value and its largest.
type Curve struct {
	Name      string
	Last, Max float64
}

// Curves are those after the metrics were read at some moments.
func Curves(metrics prometheus.Gatherer, at func(read func(time.Time))) (curves []Curve) {
	r := newRecent(metrics)
	at(r.note)
	for _, s := range r.series() {
		curves = append(curves, Curve{s.Name, s.Last, s.Max})
	}
	return curves
}
