# The targets are explained by `make help`, which prints the text after ##.

GO      ?= go
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
FUZZTIME ?= 10s
SOAK ?= 10m
BENCH ?= .
ROUNDS ?= 3
FLAGS ?=
OUT ?= $(if $(filter .,$(BENCH)),docs/performance.md)
GATED = warm-(plain|h1|h2)-8|manifest-h1|connection-(x25519-)?(tls|connect)
GATING = entrepot,nginx,outside,kernel
COUNT ?= 1

# testdata is left out of ./... by the go command, so what is tested there is named.
PACKAGES = ./... ./testdata/world/... ./testdata/pebble/...
BUILD    = CGO_ENABLED=0 $(GO) build -trimpath -ldflags '-s -w -X main.version=$(VERSION)'

.DEFAULT_GOAL := build
.PHONY: help build build-race run test race lint fuzz bench gate gate-note micro e2e attack soak image binaries ci

help: ## print this list
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## /{printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

build: ## make bin/entrepot, one static binary (the default)
	$(BUILD) -o bin/entrepot ./cmd/entrepot

build-race: ## make bin/entrepot-race, with Go's race detector; needs a C compiler
	CGO_ENABLED=1 $(GO) build -race -trimpath -o bin/entrepot-race ./cmd/entrepot

run: build ## serve with the defaults on 127.0.0.1, data in ./data
	./bin/entrepot serve --data-dir ./data

test: ## vet and run every test but the end-to-end ones; needs Go, make and a C compiler
	$(GO) vet $(PACKAGES)
	$(GO) test -race -shuffle=on $(PACKAGES)

race: ## run the tests twice, each time in another order, to find what depends on luck
	$(GO) test -race -shuffle=on -count=2 $(PACKAGES)

lint: ## formatting, vet, staticcheck, house style, go.mod, known vulnerabilities
	@out=$$($(GO) tool gofumpt -l . testdata); test -z "$$out" || { echo "make lint: to be formatted by gofumpt -w:"; echo "$$out"; exit 1; }
	$(GO) vet $(PACKAGES)
	$(GO) vet -tags e2e ./testdata/e2e/
	$(GO) tool staticcheck $(PACKAGES)
	$(GO) tool staticcheck -tags e2e ./testdata/e2e/
	$(GO) test -run '^Test(Structure|Style)' ./cmd/entrepot
	$(GO) mod tidy -diff
	@out=$$($(GO) tool govulncheck ./... 2>&1) && echo "govulncheck: none of the known vulnerabilities is reached" || \
		if echo "$$out" | grep -q 'fetching vulnerabilities'; then echo "govulncheck: skipped, its data base cannot be reached from here"; \
		else echo "$$out"; exit 1; fi

# Go before 1.27 calls it a failure now and then that the time is over (golang/go#75804). What it finds it tells in other words.
fuzz: ## run each fuzz target for FUZZTIME (10s)
	@set -e; log=$$(mktemp); trap 'rm -f "$$log"' EXIT; for package in $$($(GO) list $(PACKAGES)); do \
		for target in $$($(GO) test -list '^Fuzz' $$package | grep '^Fuzz' || true); do \
			echo "fuzz $$package $$target"; \
			if $(GO) test -run '^$$' -fuzz "^$$target\$$" -fuzztime $(FUZZTIME) $$package >"$$log" 2>&1; then cat "$$log"; else \
				cat "$$log"; grep -A1 -e "^--- FAIL: $$target " "$$log" | grep -qx '    context deadline exceeded'; \
			fi; \
		done; \
	done

bench: build ## compare with nginx, registry and squid; all of it makes the tables of docs/performance.md; BENCH='warm-.*' chooses, ROUNDS=3, OUT=FILE keeps, FLAGS='-servers nginx,entrepot' and others
	bench/install bin/tools
	$(GO) run ./bench -scenarios '$(BENCH)' -rounds $(ROUNDS) -out '$(OUT)' $(FLAGS)

gate: build ## fail where a hit costs a quarter more CPU, in nginx's or the bare kernel's, than bench/last.json says it did
	bench/install bin/tools
	$(GO) run ./bench -scenarios '$(GATED)' -servers $(GATING) -rounds 3 -gate bench/last.json

gate-note: build ## write into bench/last.json what a hit costs now: at each release, and where a change is worth what it costs
	bench/install bin/tools
	$(GO) run ./bench -scenarios '$(GATED)' -servers $(GATING) -rounds 5 -note bench/last.json

micro: ## run the Go benchmarks COUNT (1) times; `go tool benchstat OLD NEW` compares two outputs
	$(GO) test -run '^$$' -bench . -benchmem -count $(COUNT) $(PACKAGES)

e2e: build build-race ## real clients, daemons and registries on loopback; installs them, needs root
	testdata/e2e/install bin/tools
	$(GO) test -tags e2e -count=1 -timeout 25m -v -skip '^TestAttack$$' ./testdata/e2e/

attack: build build-race ## try what hostile clients and registries would, from outside, a line each; needs root
	testdata/e2e/install bin/tools
	$(GO) test -tags e2e -count=1 -timeout 5m -v -run '^TestAttack$$' ./testdata/e2e/

soak: build build-race ## pull, abort, evict and kill at random for SOAK (10m) with 100 clients; needs root
	testdata/e2e/install bin/tools
	SOAK=$(SOAK) $(GO) test -tags e2e -count=1 -timeout 0 -v -run '^TestSoak$$' ./testdata/e2e/

binaries: binary-amd64 binary-arm64 ## make the binaries of images for amd64 and arm64

binary-%:
	GOOS=linux GOARCH=$* $(BUILD) -o dist/linux-$*/entrepot ./cmd/entrepot

image: ## make the container image entrepot:VERSION for this machine's architecture
	$(MAKE) binary-$$($(GO) env GOARCH)
	mkdir -p dist/empty
	docker build --build-arg TARGETARCH=$$($(GO) env GOARCH) -t entrepot:$(VERSION) .

ci: ## all that has to pass before a change is taken in
	.ci/run
