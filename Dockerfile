# Rollcall as an image of one static binary: no shell, no package manager, no root.
#
#   docker build --build-arg VERSION=1.2.3 --tag rollcall:1.2.3 .

FROM golang:1.26 AS build
WORKDIR /src
# The modules are a layer of their own, which only a change of these two files renews.
COPY go.mod go.sum ./
RUN go mod download
COPY . .
ARG VERSION=dev
# Without cgo there is no libc to bring along: names are looked up by Go itself.
ENV CGO_ENABLED=0
RUN go build -trimpath -ldflags "-s -w -X main.version=${VERSION}" -o rollcall ./cmd/rollcall

FROM scratch
# For TLS to PostgreSQL and to providers. Time zones are not needed: all is UTC.
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
COPY --from=build /src/rollcall /rollcall
# Mount the configuration here, or name another path.
ENV ROLLCALL_CONFIG=/etc/rollcall/rollcall.yaml
# A number, so that a host can tell that it is not root without reading /etc/passwd.
USER 65532:65532
# 8080 is for webhooks, 8081 for metrics and administration: publish the first only.
EXPOSE 8080 8081
# Alive, not ready: a restart doesn't bring a database back, and webhooks wait meanwhile.
HEALTHCHECK --interval=10s --timeout=5s --start-period=5s --retries=3 CMD ["/rollcall", "health"]
ENTRYPOINT ["/rollcall"]
CMD ["serve"]
