FUZZTIME ?= 10s

.PHONY: build test lint tidy fuzz ci

build:
	go build -o rollcall ./cmd/rollcall

test:
	go test -race ./...

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
