# make test needs Go alone, and builds a Vault server and a step-ca for its tests the first time. make lint builds its tools from internal/tools. make help lists the rest.

GO       ?= go
BIN       = $(CURDIR)/bin
PKG      ?= ./...
BENCH    ?= .
FUZZTIME ?= 30s
# The race detector needs cgo, which Go turns off where it finds no C compiler.
RACE     ?= $(if $(filter 1,$(shell $(GO) env CGO_ENABLED)),-race)
TOOLS     = $(BIN)/.tools
PLATFORMS = linux/amd64 linux/arm64 darwin/amd64 darwin/arm64 windows/amd64 windows/arm64

.PHONY: help proto test vault-server test-vault-older step-ca short lint fmt fuzz cover bench bench-wan cross ci clean

help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## /\1: /p' Makefile

test: vault-server step-ca ## every test, with the race detector where there is a C compiler
	$(GO) test $(RACE) -timeout 30m $(PKG)

vault-server: ## the Vault server that tests run against, unless it is built already (minutes, the first time)
	@$(GO) run ./internal/vaulttest/build

test-vault-older: ## the tests of the Vault provider against the older of two Vault servers (builds it, minutes, the first time)
	@FEDERATION_VAULT=older $(GO) run ./internal/vaulttest/build
	FEDERATION_VAULT=older $(GO) test $(RACE) -timeout 30m ./providers/vault/... ./internal/vaulttest/...

step-ca: ## the step-ca command that tests run against, unless it is built already (minutes, the first time)
	@$(GO) run ./internal/stepcatest/build

short: ## the quick part of the tests
	$(GO) test -short $(PKG)

lint: $(TOOLS) ## formatting, go vet, staticcheck (staticcheck.conf says what is off, and why)
	@found=$$($(BIN)/gofumpt -l .); [ -z "$$found" ] || { echo "not formatted; make fmt does it:"; echo "$$found"; exit 1; }
	$(GO) vet ./...
	$(BIN)/staticcheck ./...

fmt: $(TOOLS) ## format every file
	$(BIN)/gofumpt -w .

$(TOOLS): internal/tools/go.mod internal/tools/go.sum
	GOBIN=$(BIN) $(GO) -C internal/tools install tool
	@touch $@

# Go's fuzzer at times reports its own deadline as a failure when the time is up; such a run is made once more.
fuzz: ## every fuzz function, each for FUZZTIME (30s)
	@for dir in $$($(GO) list -f '{{.Dir}}' $(PKG)); do \
		for name in $$(cat /dev/null "$$dir"/*_test.go 2>/dev/null | sed -n 's/^func \(Fuzz[A-Za-z0-9_]*\)(.*/\1/p'); do \
			echo "fuzz $$name in $${dir#$(CURDIR)/}"; \
			run() { $(GO) test -run '^$$' -fuzz "^$$name\$$" -fuzztime $(FUZZTIME) "$$dir" 2>&1; }; \
			out=$$(run) || { case "$$out" in *"Failing input"*) false;; *"context deadline exceeded"*) out=$$(run);; *) false;; esac; } || { echo "$$out"; exit 1; }; \
			echo "$$out" | tail -n 1; \
		done; \
	done

cover: ## test coverage, into coverage.out
	$(GO) test -coverprofile=coverage.out -coverpkg=./... $(PKG)
	$(GO) tool cover -func=coverage.out | tail -n 1

bench: ## benchmarks (docs/benchmarks.md reads them)
	$(GO) test -run '^$$' -bench '$(BENCH)' -benchmem $(PKG)

bench-wan: ## transport and pushes over emulated wide-area networks, beside net/http (Linux, root)
	$(GO) run ./internal/wan/bench
	$(GO) run ./internal/wan/pushbench

proto: ## write the plugin protocol's generated code again; CI proves that nothing changes
	$(GO) -C sdk/plugin/proto/gen run .

cross: ## build and vet for every platform
	@for p in $(PLATFORMS); do \
		echo "build and vet for $$p"; \
		GOOS=$${p%/*} GOARCH=$${p#*/} CGO_ENABLED=0 $(GO) build ./... || exit 1; \
		GOOS=$${p%/*} GOARCH=$${p#*/} CGO_ENABLED=0 $(GO) vet ./... || exit 1; \
	done

ci: ## everything that CI runs
	.ci/run

clean: ## remove what the other targets made
	rm -rf bin coverage.out
