//go:build bench

package main

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

var titles = map[string]string{
	nameRollcall: "(a) Rollcall", namePerRequest: "(b) per request", nameHandler: "(c) handler", nameFastify: "Fastify + @clerk/backend + pg",
}

// report is the generated part of the document.
func (b *short) report(about string, took time.Duration) string {
	var text strings.Builder
	fmt.Fprintf(&text, "%s\n", about)
	fmt.Fprintf(&text, "`make bench`, %d rounds, %s in all; medians of the rounds. Requests: user.created of new users, %d bytes of body, signed "+
		"before they are sent; %s warm-up, %s measured, on empty tables each time. Pools, tuned at %d connections: %s.\n\n",
		b.rounds, took.Round(time.Second), len(b.mill.template)-b.mill.body, b.warm, b.window, tuned, strings.Join(b.tuning, "; "))
	b.reportGoals(&text)
	text.WriteString("### Webhooks\n\n")
	b.reportLoads(&text)
	b.reportLoops(&text)
	return text.String()
}

func (b *short) reportGoals(text *strings.Builder) {
	text.WriteString("### The figures to reach\n\nA ratio is taken within a round; the third column is the median of the rounds, the fourth their range.\n\n" +
		"| figure | wanted | measured | range | |\n|---|---|---|---|---|\n")
	for _, g := range goals() {
		text.WriteString(b.results.row(g))
	}
	alone := b.results.median("verify+decode", p50) / 1000
	g := goal{bound: 25, atMost: true}
	fmt.Fprintf(text, "| verify + decode of this event, µs | ≤ 25 | %.1f | | %s |\n", alone, g.verdict(alone))
	g.bound = 40
	allocations := b.results.median("verify+decode", allocated)
	fmt.Fprintf(text, "| … allocations | ≤ 40 | %.0f | | %s |\n", allocations, g.verdict(allocations))
	g.bound = 64
	memory := b.results.median(nameRollcall+"/64", peak)
	fmt.Fprintf(text, "| peak resident memory at 64 connections, MiB | ≤ 64 | %.0f | | %s |\n\n", memory, g.verdict(memory))
	if b.programs.without != "" {
		fmt.Fprintf(text, "Fastify was not measured: %s.\n\n", b.programs.without)
	}
}

// goals are the figures of one run, in the order of the table.
func goals() []goal {
	at := func(name string, n int) string { return name + "/" + strconv.Itoa(n) }
	list := []goal{
		{what: "throughput at 64 connections, of (b)", of: at(nameRollcall, 64), by: at(namePerRequest, 64), field: perSecond, bound: 8},
		{what: "… of (c)", of: at(nameRollcall, 64), by: at(nameHandler, 64), field: perSecond, bound: 4},
		{what: "… of (d) at the batch reached", of: at(nameRollcall, 64), by: nameBare + "/reached/64", field: perSecond, bound: 0.60},
		{what: "… of Fastify", of: at(nameRollcall, 64), by: at(nameFastify, 64), field: perSecond, bound: 4},
		{what: "throughput at 256 connections, of (c)", of: at(nameRollcall, 256), by: at(nameHandler, 256), field: perSecond, bound: 5},
		{what: "… of Fastify", of: at(nameRollcall, 256), by: at(nameFastify, 256), field: perSecond, bound: 4},
	}
	for _, n := range connections[1:] {
		for _, other := range []string{namePerRequest, nameHandler, nameFastify} {
			list = append(list, goal{what: fmt.Sprintf("p99 at %d connections, of %s", n, letter(titles[other])), of: at(nameRollcall, n), by: at(other, n), field: p99, bound: 1.0 / 3, atMost: true})
		}
	}
	list = append(list, goal{what: "one idle connection: median, of (d) at batch 1", of: at(nameRollcall, 1), by: nameBare + "/alone", field: p50, bound: 1.25, atMost: true})
	for _, other := range []string{namePerRequest, nameHandler, nameFastify} {
		list = append(list, goal{what: fmt.Sprintf("processor time per event at 64 connections, of all: %s of (a)", letter(titles[other])), of: at(other, 64), by: at(nameRollcall, 64), field: totalTime})
	}
	for _, size := range batchSizes {
		list = append(list, goal{what: fmt.Sprintf("(d) of (e) at batch %d", size), of: at(nameBare, size), by: at(nameUpsert, size), field: perSecond, bound: 0.40})
	}
	return list
}

// letter is the first word of a title.
func letter(title string) string {
	word, _, _ := strings.Cut(title, " ")
	return word
}

func (b *short) reportLoads(text *strings.Builder) {
	text.WriteString("µs are processor time per event, of all processes that share the machine.\n\n| | connections | events/s | p50 ms | p99 ms | events per commit | peak MiB | µs PostgreSQL | µs itself | µs generator |\n|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|\n")
	for _, n := range connections {
		for _, c := range b.candidates {
			key := fmt.Sprintf("%s/%d", c.name, n)
			committed := "1"
			if size := b.results.median(key, batch); size > 0 {
				committed = fmt.Sprintf("%.1f", size)
			}
			fmt.Fprintf(text, "| %s | %d | %.0f | %s | %s | %s | %.0f | %.0f | %.0f | %.0f |\n", titles[c.name], n, b.results.median(key, perSecond),
				millis(b.results.median(key, p50)), millis(b.results.median(key, p99)), committed, b.results.median(key, peak),
				b.results.median(key, serverTime), b.results.median(key, ownTime), b.results.median(key, generatorTime))
		}
	}
}

func (b *short) reportLoops(text *strings.Builder) {
	fmt.Fprintf(text, "\n### Without HTTP, signatures and JSON\n\n%d connections commit side by side, as Rollcall's own committers do.\n\n"+
		"| batch | (d) events/s | (d) p50 ms | (e) events/s | (e) p50 ms | (d) of (e) | (d) µs PostgreSQL | (d) µs itself | (e) µs PostgreSQL | (e) µs itself |\n|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|\n", committers)
	keys := []string{}
	for _, size := range batchSizes {
		keys = append(keys, strconv.Itoa(size))
	}
	for _, n := range connections[1:] {
		keys = append(keys, fmt.Sprintf("reached/%d", n))
	}
	for _, key := range keys {
		d, e := nameBare+"/"+key, nameUpsert+"/"+key
		s, _ := b.results.ratio(d, e, perSecond)
		label := key
		if n, ok := strings.CutPrefix(key, "reached/"); ok {
			label = fmt.Sprintf("%.0f, reached at %s connections", b.results.median(d, batch), n)
		}
		fmt.Fprintf(text, "| %s | %.0f | %s | %.0f | %s | %.2f | %.0f | %.0f | %.0f | %.0f |\n", label, b.results.median(d, perSecond), millis(b.results.median(d, p50)),
			b.results.median(e, perSecond), millis(b.results.median(e, p50)), s.median,
			b.results.median(d, serverTime), b.results.median(d, generatorTime), b.results.median(e, serverTime), b.results.median(e, generatorTime))
	}
	fmt.Fprintf(text, "| 1, one connection | %.0f | %s | | | | | | | |\n", b.results.median(nameBare+"/alone", perSecond), millis(b.results.median(nameBare+"/alone", p50)))
}
