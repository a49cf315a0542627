FUZZTIME ?= 10s
SOAK ?= 3m
CHAOS ?= 10m

.PHONY: build test test-timing test-long test-pgbouncer soak chaos bench bench-long bench-far bench-profile lint tidy fuzz ci

build:
	go build -o rollcall ./cmd/rollcall

test:
	go test ./...

# what the tags add: durations against their bounds, random tests at full size, tests beside PgBouncer
test-timing:
	go test -tags timing -p 1 ./...

test-long:
	go test -tags long ./...

test-pgbouncer:
	go test -tags pgbouncer -run Pooler ./cmd/rollcall ./internal/postgres/connection

# two replicas are killed and the database fails for a while; the line that counts is printed
soak:
	ROLLCALL_SOAK=$(SOAK) go test -tags long -count 1 -timeout 30m -run '^TestSoak$$' -v ./cmd/rollcall

# three replicas that are killed, stopped and cut off while everything is at work
chaos:
	ROLLCALL_SOAK=$(CHAOS) go test -tags long -count 1 -timeout 30m -run '^TestChaos$$' -v ./cmd/rollcall

# Rollcall beside its rivals, under 10 minutes; writes docs/benchmark.md. First: are their rows right?
bench:
	go test -tags bench ./bench/...
	go run -tags bench ./bench

# memory over ten minutes, a large roll, more targets, reconcile and backfill
bench-long:
	go run -tags bench ./bench -long

# the candidates with a distance between them and the database
bench-far:
	go run -tags bench ./bench -far

# where the time goes, as pprof and pg_stat_statements tell it
bench-profile:
	mkdir -p dist/profile
	go run -tags bench ./bench -profile dist/profile

lint:
	go run github.com/golangci/golangci-lint/v2/cmd/golangci-lint@v2.15.0 run ./...

tidy:
	go mod tidy

# every fuzzer for a short while
fuzz:
	for pkg in $$(go list ./...); do for f in $$(go test -list '^Fuzz' $$pkg | grep '^Fuzz'); do \
		go test -run '^$$' -fuzz "^$$f\$$" -fuzztime $(FUZZTIME) $$pkg || exit 1; done; done

ci:
	.ci/run
