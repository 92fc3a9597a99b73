# Everything here is also what CI runs (.ci/run). "make check" is the round
# before a commit; the lanes below it need more than Go.

GO ?= go

.PHONY: help build test race lint fmt generate check test-kafka security cluster interop browser readme bench model prove soak fuzz-short mutants faults attacks clean

help: ## show this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

build: ## build bin/dashstream
	CGO_ENABLED=0 $(GO) build -trimpath -o bin/dashstream ./cmd/dashstream

test: ## run the tests; needs nothing but Go
	$(GO) test ./...

race: ## run the tests under the race detector
	$(GO) test -race ./...

lint: ## run golangci-lint, at the pinned version
	scripts/lint.sh

fmt: ## format the Go files
	gofmt -w $$(git ls-files '*.go')

generate: ## regenerate generated files (needs protoc 3.21)
	scripts/generate.sh

check: ## format, vet, lint, generated files, tests with the race detector
	@test -z "$$(gofmt -l $$(git ls-files '*.go'))" || { echo "not formatted:"; gofmt -l $$(git ls-files '*.go'); exit 1; }
	$(GO) vet ./...
	scripts/lint.sh
	scripts/check-generated.sh
	$(GO) test -race ./...

test-kafka: ## run the broker-backed tests on Apache Kafka (needs Java 17 and Maven)
	scripts/test-kafka.sh

cluster: ## kill, stop and move three brokers of Apache Kafka under load (needs Java 17 and Maven)
	scripts/test-cluster.sh

security: ## connect to Apache Kafka in every way and with every mistake; UPDATE=-update writes docs/security.md
	scripts/test-security.sh $(UPDATE)

interop: ## read and write the embedded broker with other Kafka clients (needs kcat, Python)
	scripts/interop.sh

browser: ## drive the page in a headless Chromium
	scripts/browser-test.sh

readme: ## run the README's commands as they stand there
	scripts/readme-test.sh

bench: ## run the benchmarks
	$(GO) test -run '^$$' -bench . -benchmem ./...

model: ## hold the stream to an oracle while everything fails, with the seeds of CI
	$(GO) test ./e2e/model -run '^TestModel$$' -count=1 -v -timeout 0 -model.first 1000 -model.steps 1500000

prove: ## all that docs/proof.md names but the speed: half an hour (needs Java 17 and Maven)
	DASHSTREAM_CI_STRICT=1 DASHSTREAM_CI_LANES="model mutants faults attacks fuzz kafka security cluster" .ci/run

soak: ## play random scripts of the model test for SOAK, 10m by default
	$(GO) test ./e2e/model -run '^TestModel$$' -count=1 -v -timeout 0 -model.first 0 -model.time $(or $(SOAK),10m)

fuzz-short: ## run every fuzz target for FUZZTIME, 10s by default
	scripts/fuzz-short.sh

mutants: ## put known bugs into a copy of the tree and show that the tests see each; ONLY="gap 07" picks some
	scripts/mutants.sh $(ONLY)

faults: ## kill, stop and starve the running program, KILLS times killed, 100 by default
	$(GO) test ./e2e/faults -count=1 -v -parallel 8 -timeout 0 -faults.full -faults.kills $(or $(KILLS),100)

attacks: ## attack the running program with hostile bytes, beside a client that behaves
	$(GO) test ./e2e/attack -count=1 -v -timeout 0 -attack

clean: ## remove what the other targets built in the checkout
	rm -rf bin
