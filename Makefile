# `make help` lists the targets.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

# A release is its tag; between releases the last tag, the commits since and the commit.
VERSION ?= $(shell git describe --tags --match 'v[0-9]*' --dirty 2>/dev/null || \
	echo "v0.0.0-dev+$$(git rev-parse --short=12 HEAD 2>/dev/null || echo unknown)")
BINARY := bin/raft-node
GOBUILD := CGO_ENABLED=0 go build -trimpath -ldflags "-X main.version=$(VERSION)"

# The same flags for tests, vet and lint as for the binary: they then share what
# is compiled, which is the longest part on a new machine. The version comes from
# VERSION, so Go need not ask git.
export CGO_ENABLED := 0
export GOFLAGS := $(filter-out -trimpath -buildvcs=%,$(shell go env GOFLAGS)) -trimpath -buildvcs=false

BUF := go tool -modfile=tools/buf/go.mod buf
GOLANGCI_LINT := go tool -modfile=tools/lint/go.mod golangci-lint
TOOL_MODULES := tools/benchstat tools/buf tools/conformance tools/gen tools/grpc tools/lint tools/rqlite
PYTHON := .tools/python/bin/python
SDK_PYTHON := $(CURDIR)/.tools/sdk-python/bin/python

# Where make install puts things, behind DESTDIR.
PREFIX ?= /usr/local
DESTDIR ?=
PLATFORMS := linux/amd64 linux/arm64 darwin/arm64
# Packages to test or lint: make test PKG=./db/...
PKG ?= ./...
TEST_TIMEOUT ?= 30m
FUZZ_TIME ?= 20s
DURATION ?= 600
BENCH ?= .
BENCH_TASKS ?= 100000 1000000
WEB_TASKS ?= 100000
TASKS ?= 200000
MEMBERS ?= 1

##@ Work

.PHONY: all
all: build test verify ## Build, test and verify: everything that a change must pass

.PHONY: help
help: ## List the targets
	@awk 'BEGIN { FS = ":.*## " } \
		/^##@ / { printf "\n%s\n", substr($$0, 5) } \
		/^[a-z][a-z\/-]*:.*## / { printf "  %-20s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: build
build: ## Build bin/raft-node, static, for this machine
	$(GOBUILD) -o $(BINARY) ./cmd/raft-node

.PHONY: run
run: build ## Train on digits with three members and three agents (ARGS=--help tells how)
	python3 examples/digits/run.py $(ARGS)

.PHONY: proto
proto: deps/stubs ## Write the Go, TypeScript and Python stubs of proto/ to gen/, and the dashboard that holds them
	rm -rf .tools/stubs
	scripts/generate.sh .tools/stubs
	rm -rf gen
	mv .tools/stubs/gen gen
	python3 sdk/python/tools/vendor_stubs.py
	$(MAKE) web

.PHONY: web
web: web/node_modules/.package-lock.json ## Build the dashboard, web/dist, which is embedded and committed
	cd web && npm run --silent check && npm run --silent build -- --logLevel warn

.PHONY: screenshots
screenshots: build deps/web ## Take the pictures of the dashboard in docs/images, of a live cluster
	node web/test/screenshots.mjs docs/images

.PHONY: docs
docs: ## Write docs/cli.md and the manual pages, docs/man, of what the commands say of themselves
	go test ./cmd/raft-node -run '^TestDocs$$' -count=1 -rewrite

.PHONY: install
install: build ## Install the binary, the manual pages and completion for shells under PREFIX
	install -d $(DESTDIR)$(PREFIX)/bin $(DESTDIR)$(PREFIX)/share/man/man1 $(DESTDIR)$(PREFIX)/share/bash-completion/completions \
		$(DESTDIR)$(PREFIX)/share/zsh/site-functions $(DESTDIR)$(PREFIX)/share/fish/vendor_completions.d
	install -m 755 $(BINARY) $(DESTDIR)$(PREFIX)/bin/raft-node
	install -m 644 docs/man/*.1 $(DESTDIR)$(PREFIX)/share/man/man1
	$(BINARY) completion bash >$(DESTDIR)$(PREFIX)/share/bash-completion/completions/raft-node
	$(BINARY) completion zsh >$(DESTDIR)$(PREFIX)/share/zsh/site-functions/_raft-node
	$(BINARY) completion fish >$(DESTDIR)$(PREFIX)/share/fish/vendor_completions.d/raft-node.fish

.PHONY: fmt
fmt: ## Format the Go and proto files
	gofmt -w .
	$(BUF) format -w proto

.PHONY: deps
deps: deps/go deps/stubs ## Fetch the modules and install the stub tools under tools/ and .tools/

.PHONY: clean
clean: ## Remove what was built and installed here
	rm -rf bin .tools tools/ts/node_modules web/node_modules examples/clients/node/node_modules examples/clients/node/dist

##@ Test

.PHONY: test
test: test/go test/examples test/stubs test/python test/web test/peers test/fuzz conformance ## Run every test, with all set-up (PKG=./db/... for some)

.PHONY: test/go
test/go: build deps/clients deps/rqlited ## Run the Go tests, the end-to-end ones against bin/raft-node
	RAFT_NODE_BINARY=$(CURDIR)/$(BINARY) go test -timeout $(TEST_TIMEOUT) $(PKG)

.PHONY: test-race
test-race: build deps/clients deps/rqlited ## Run the Go tests with the race detector (needs a C compiler)
	@command -v "$$(go env CC)" >/dev/null || \
		{ echo "test-race: no C compiler: install gcc, or set CC" >&2; exit 1; }
	RAFT_NODE_BINARY=$(CURDIR)/$(BINARY) CGO_ENABLED=1 go test -race -timeout $(TEST_TIMEOUT) $(PKG)

.PHONY: test/examples
test/examples: build ## Run the tests of the examples
	RAFT_NODE_BINARY=$(CURDIR)/$(BINARY) python3 -m unittest discover -s examples/digits

.PHONY: test/stubs
test/stubs: deps/stubs ## Import the TypeScript and Python stubs and use them
	node --test tools/ts/stubs_test.mjs
	$(PYTHON) -m unittest discover -s tools/python

.PHONY: test/web
test/web: build deps/web ## Test the dashboard in Chromium, against members and agents; its pictures are in .tools/web-pictures
	RAFT_NODE_BINARY=$(CURDIR)/$(BINARY) node --test --test-concurrency=1 --test-reporter=spec web/test/*.test.mjs

.PHONY: conformance
conformance: ## Run Connect's conformance suite against a whole member
	scripts/conformance.sh

.PHONY: test/python
test/python: build .tools/sdk-python/installed ## Check the Python SDK and run its tests against bin/raft-node
	cd sdk/python && $(SDK_PYTHON) -m ruff check --no-cache src examples tests tools && \
		$(SDK_PYTHON) -m ruff format --no-cache --check src examples tests tools && \
		$(SDK_PYTHON) -m mypy --cache-dir $(CURDIR)/.tools/sdk-python/mypy
	cd sdk/python && RAFT_NODE_BINARY=$(CURDIR)/$(BINARY) PYTHONDONTWRITEBYTECODE=1 $(SDK_PYTHON) -m pytest

.PHONY: test/peers
test/peers: ## Test the comparison with other systems, with those of them that are there
	cd bench/peers && go vet -mod=mod . && go test -mod=mod .

.PHONY: test/fuzz
test/fuzz: ## Run each fuzz test for some thousand inputs
	scripts/fuzz.sh 2000x

.PHONY: fuzz
fuzz: ## Run each fuzz test for FUZZ_TIME
	scripts/fuzz.sh $(FUZZ_TIME)

.PHONY: soak
soak: build ## Lose power, kill, stop and part members for DURATION seconds
	RAFT_NODE_BINARY=$(CURDIR)/$(BINARY) scripts/soak.sh $(DURATION)

.PHONY: soak/overload
soak/overload: build ## Offer twice what can be done for DURATION: no node is lost, memory stays bounded
	$(BINARY) bench --phases overload,flood --duration $(if $(filter %s %m %h,$(DURATION)),$(DURATION),$(DURATION)s) --members $(MEMBERS)

.PHONY: bench
bench: build ## Load bin/raft-node through its API, then run the Go benchmarks that match BENCH
	$(BINARY) bench --members $(MEMBERS)
	go test -run '^$$' -bench '$(BENCH)' -benchmem $(PKG)

.PHONY: bench-compare
bench-compare: ## Compare the Go benchmarks that match BENCH with those at revision BASE
	BENCH='$(BENCH)' scripts/bench-compare.sh '$(BASE)' $(PKG)

.PHONY: bench/peers
bench/peers: build ## Compare with NATS JetStream, PostgreSQL, River and etcd, in 8 minutes (ARGS='-rounds 1' is shorter)
	scripts/bench-peers.sh $(ARGS)

.PHONY: turnover
turnover: ## Complete and delete TASKS tasks (5,000,000 take some ten minutes) and show that the disk stays bounded
	go run ./scripts/turnover --tasks $(TASKS)

.PHONY: bench/engine
bench/engine: build ## Measure starts, snapshots and catching up with BENCH_TASKS tasks
	scripts/bench-engine.sh $(BENCH_TASKS)

.PHONY: bench/web
bench/web: build deps/web ## Measure in Chromium how soon the dashboard shows data, with WEB_TASKS tasks
	RAFT_NODE_BINARY=$(CURDIR)/$(BINARY) node web/test/load.mjs $(WEB_TASKS)

##@ Verify

.PHONY: verify
verify: verify/fmt verify/tidy verify/proto verify/web verify/docs verify/vet lint verify/platforms ## Check format, modules, stubs, contract, dashboard, docs, lint and builds

.PHONY: verify/fmt
verify/fmt: ## Check the format of Go and proto files
	@files=$$(gofmt -l .); \
		[ -z "$$files" ] || { echo "not formatted, run 'make fmt':"; echo "$$files"; exit 1; } >&2
	$(BUF) format --diff --exit-code proto

.PHONY: verify/tidy
verify/tidy: ## Check that go.mod and go.sum list just what is used
	go mod tidy -diff
	@for dir in $(TOOL_MODULES) bench/peers; do (set -x; cd $$dir; go mod tidy -diff); done

.PHONY: verify/proto
verify/proto: deps/stubs ## Check that stubs are fresh, the contract lints and breaks no client
	scripts/stubs-fresh.sh
	$(BUF) lint
	scripts/breaking.sh

.PHONY: verify/web
verify/web: web/node_modules/.package-lock.json ## Check that web/dist is what the dashboard's sources give
	scripts/web-fresh.sh

.PHONY: verify/docs
verify/docs: ## Check that docs/cli.md and docs/man are what the commands say of themselves
	go test ./cmd/raft-node -run '^TestDocs$$' -count=1

.PHONY: verify/vet
verify/vet: ## Run go vet
	go vet $(PKG)

.PHONY: lint
lint: ## Run golangci-lint: bugs, style, import walls, no clock in the state machine
	$(GOLANGCI_LINT) run $(PKG)

.PHONY: verify/platforms
verify/platforms: ## Build the binary without cgo for every platform
	@for platform in $(PLATFORMS); do \
		(set -x; GOOS=$${platform%/*} GOARCH=$${platform#*/} $(GOBUILD) -o /dev/null ./cmd/raft-node); \
	done

##@ Set-up

.PHONY: deps/go
deps/go: ## Fetch the Go modules of the project and of its tools
	go mod download
	@for dir in $(TOOL_MODULES) bench/peers; do (set -x; cd $$dir; go mod download); done

.PHONY: deps/stubs
deps/stubs: .tools/python/installed tools/ts/node_modules/.package-lock.json ## Install the stub generators for TypeScript and Python

# `go tool -n` builds a tool where `go tool` then finds it.
.PHONY: deps/clients
deps/clients: deps/stubs .tools/sdk-python/installed examples/clients/node/dist/client.js ## Build the clients of others that tests call members with
	@go tool -modfile=tools/grpc/go.mod -n grpcurl >/dev/null
	@go tool -modfile=tools/grpc/go.mod -n grpc-health-probe >/dev/null
	@go tool -modfile=tools/buf/go.mod -n buf >/dev/null
	@scripts/openssl.sh

.PHONY: deps/rqlited
deps/rqlited: ## Build rqlited, with which tests compare the engine (needs a C compiler)
	scripts/rqlited.sh

.PHONY: deps/web
deps/web: web/node_modules/.package-lock.json ## Install the dashboard's packages, and Chromium for its tests
	scripts/chromium.sh

# The stubs are copied at the installation.
web/node_modules/.package-lock.json: web/package.json web/package-lock.json $(shell find gen/ts -type f)
	cd web && npm ci --no-audit --no-fund
	touch $@

examples/clients/node/node_modules/.package-lock.json: examples/clients/node/package.json examples/clients/node/package-lock.json $(shell find gen/ts -type f)
	cd examples/clients/node && npm ci --no-audit --no-fund
	touch $@

examples/clients/node/dist/client.js: examples/clients/node/client.ts examples/clients/node/tsconfig.json examples/clients/node/node_modules/.package-lock.json
	cd examples/clients/node && npm run --silent build

# npm writes this file at the end of an installation.
tools/ts/node_modules/.package-lock.json: tools/ts/package.json tools/ts/package-lock.json
	@command -v npm >/dev/null && node -e 'process.exit(parseInt(process.versions.node) < 20 ? 1 : 0)' || \
		{ echo "the TypeScript stubs need Node 20 or newer, with npm: apt-get install nodejs npm" >&2; exit 1; }
	cd tools/ts && npm ci --no-audit --no-fund
	touch $@

.tools/python/installed: tools/python/requirements.txt
	@python3 -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "the Python stubs need python3 3.11 or newer" >&2; exit 1; }
	@python3 -c 'import ensurepip, venv' || \
		{ echo "the Python stubs need venv and pip: apt-get install python3-venv" >&2; exit 1; }
	rm -rf .tools/python
	python3 -m venv .tools/python
	$(PYTHON) -m pip install --quiet --disable-pip-version-check -r tools/python/requirements.txt
	touch $@

# Editable: the tests use the files as they stand.
.tools/sdk-python/installed: sdk/python/pyproject.toml
	@python3 -c 'import sys, ensurepip, venv; sys.exit(sys.version_info < (3, 10))' || \
		{ echo "the Python SDK needs python3 3.10 or newer with venv and pip: apt-get install python3-venv" >&2; exit 1; }
	rm -rf .tools/sdk-python
	python3 -m venv .tools/sdk-python
	$(SDK_PYTHON) -m pip install --quiet --disable-pip-version-check -e 'sdk/python[test,examples]'
	touch $@
