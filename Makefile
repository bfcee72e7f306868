# Aim. `make help` lists the targets.

.DEFAULT_GOAL := help
# One thing at a time: two goals that both compile llama.cpp would do so twice.
.NOTPARALLEL:

# What `make run` serves, and what else it passes on: make run ADDR=0.0.0.0:80 ARGS="--slots 8 --sigma 0.5"
ADDR ?= 127.0.0.1:8080
MODEL ?= SmolLM2-135M-Instruct.Q4_1
ARGS ?=

# Further flags of CMake: make cuda CUDA_FLAGS="-DCMAKE_CUDA_ARCHITECTURES=80;90"
CUDA_FLAGS ?=

# Time for each fuzz target, and which benchmarks of Go run.
FUZZTIME ?= 10s
BENCH ?= .

GOLANGCI := v2.15.0
cache := $(or $(AIM_CACHE),$(or $(XDG_CACHE_HOME),$(HOME)/.cache)/aim)
golangci := $(cache)/tools/golangci-lint-$(GOLANGCI)/golangci-lint
venv := .venv
evaluator := $(cache)/lm-eval
# Further flags of lm_eval: make lm-eval LM_EVAL=--limit=50
LM_EVAL ?=
js := tests/clients/js/node_modules
vercel := tests/clients/vercel/node_modules
browser := tests/browser/node_modules

# Every go command that may compile C runs behind this: other flags would compile llama.cpp again, which takes minutes.
cgo := flags=$$(scripts/env.sh) && eval "$$flags" &&

# The packages that need no C compiler are all but these.
impure := ^aim/(llama/cpp|cmd/aim)$$
pure = $$(CGO_ENABLED=0 go list ./... | grep -Ev '$(impure)')

.PHONY: help
help: ## list the targets
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "  %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: run
run: build model ## serve the default model on ADDR (127.0.0.1:8080), with further flags in ARGS
	@exec bin/aim serve --model $(MODEL) --addr $(ADDR) $(ARGS)

.PHONY: build
build: deps page ## build bin/aim; the first time compiles llama.cpp, which takes minutes
	@[ -x bin/aim ] || echo "building bin/aim; where llama.cpp was never compiled, this takes some minutes ..."
	@$(cgo) go build -o bin/aim ./cmd/aim

# The playground is part of the program where Node.js is there to build it.
.PHONY: page
page:
	@scripts/web

.PHONY: web
web: ## build the playground, the page at /, which bin/aim embeds; needs Node.js 20
	@scripts/web need

.PHONY: test-web
test-web: web ## check the types of the playground, and run its tests that need no browser
	@echo "== the playground, without a browser"
	cd web/app && npm run --silent check && npm run --silent test
	CGO_ENABLED=0 go test ./web

.PHONY: dist
dist: deps page ## make dist/aim-….tar.gz: a program for all processors, with kernels for newer ones and all licences
	@[ "$$(uname -s)" != Linux ] || scripts/deps backends
	@scripts/dist

.PHONY: dist-check
dist-check: deps model ## check what make dist made, here and on an old processor (qemu-x86_64-static)
	tests/dist/check dist/aim-*/

.PHONY: cuda
cuda: deps ## build the CUDA back end into lib/ollama, where bin/aim finds it; CUDA_FLAGS=-DCMAKE_CUDA_ARCHITECTURES=90 is the default
	@scripts/deps backends
	@libraries=$$(scripts/backend cuda $(CUDA_FLAGS)) && mkdir -p lib/ollama && \
	  cp "$$libraries"/libggml-base.so.0 "$$libraries"/libggml-cuda.so lib/ollama/
	@echo "it is in lib/ollama, where bin/aim looks; bin/aim doctor says whether it finds a GPU"

.PHONY: test
test: test-go race test-web test-llama test-e2e test-browser ## run all tests

.PHONY: test-go
test-go: deps services vet-darwin ## test the pure Go packages, without a C compiler
	@echo "== the pure packages, CGO_ENABLED=0"
	CGO_ENABLED=0 go test $(pure)

.PHONY: vet-darwin
vet-darwin: deps ## check that the pure Go packages compile for macOS
	@echo "== the pure packages, for macOS"
	GOOS=darwin GOARCH=arm64 CGO_ENABLED=0 go vet $(pure)

.PHONY: race
race: deps services ## test the pure Go packages under the race detector, with fewer samples
	@echo "== the pure packages, -race"
	CGO_ENABLED=1 go test -race -short $(pure)

.PHONY: test-llama
test-llama: deps model ## test the driver and the program on the real model, one after the other
	@echo "== the driver and the program, on the real model"
	$(cgo) go test -p 1 -timeout 40m ./llama/cpp ./cmd/aim

.PHONY: test-e2e
test-e2e: build model $(venv)/ready $(js)/ready ## test the program end to end with the vendors' clients for Python, JavaScript and Go
	@echo "== the program, from the vendors' clients"
	$(venv)/bin/python -m pytest tests/e2e

.PHONY: test-browser
test-browser: build model $(browser)/ready browser ## test the playground in a real browser; screenshots are put into tests/browser/screenshots
	@echo "== the playground, in Chromium"
	cd tests/browser && npm run --silent test

.PHONY: clients
clients: build model $(venv)-clients/ready $(vercel)/ready ## smoke tests of LangChain, LlamaIndex, LiteLLM and the Vercel AI SDK, which are large to install
	$(venv)-clients/bin/python -m pytest -p no:cacheprovider tests/clients/smoke.py

.PHONY: lint
lint: deps $(golangci) ## check style and imports with golangci-lint
	@$(cgo) $(golangci) run ./...

.PHONY: fmt
fmt: $(golangci) ## format the code
	@$(golangci) fmt ./...

.PHONY: fuzz
fuzz: deps ## run each fuzz target for FUZZTIME (10s)
	@set -e; for package in $(pure); do \
	  for target in $$(CGO_ENABLED=0 go test -list '^Fuzz' $$package | grep ^Fuzz); do \
	    echo "== $$package $$target"; \
	    CGO_ENABLED=0 go test -run '^$$' -fuzz "^$$target\$$" -fuzztime $(FUZZTIME) $$package; \
	  done; \
	done

.PHONY: faults
faults: build model services ## break what can be broken, under load: clients, processes, disks, databases, model files, clocks; writes docs/faults.md
	@echo "== faults, at most 15 minutes"
	CGO_ENABLED=0 AIM_FAULTS=1 AIM_FAULTS_BIN=$(CURDIR)/bin/aim AIM_FAULTS_DOC=$(CURDIR)/docs/faults.md go test -v -count 1 -timeout 15m ./tests/faults

.PHONY: audit
audit: deps ## look for known vulnerabilities (govulncheck) and suspicious code (gosec); docs/security-audit.md answers what is found
	@scripts/audit

# What the comparison of servers passes on: make bench ARGS="--rounds 3"
compare = scripts/llama-server >/dev/null || echo "bench: llama-server cannot be built here, so Aim is measured alone" >&2; \
	bin/aim bench compare --model $(MODEL) $(ARGS)

.PHONY: bench
bench: build model ## compare Aim with llama-server, 20 to 25 minutes; writes docs/performance.md. The first time builds llama-server
	@$(compare) --doc docs/performance.md

.PHONY: bench-quick
bench-quick: build model ## compare Aim with llama-server in about 5 minutes: smaller loads, one round, nothing written
	@$(compare) --quick

.PHONY: bench-go
bench-go: deps model ## run the benchmarks of Go: tokens/s of the engine, time to first token, cost of the sampler
	@$(cgo) go test -run '^$$' -bench '$(BENCH)' -benchmem ./...

.PHONY: cover
cover: deps model ## print the test coverage of each package
	@mkdir -p bin
	@$(cgo) go test -cover -coverprofile bin/cover.out ./...
	go tool cover -func bin/cover.out | tail -n 1

.PHONY: env
env: ## print the environment for plain go commands: eval "$(make env)"
	@scripts/env.sh

.PHONY: model
model: deps ## fetch the default model into the models folder
	@scripts/fetch-model

.PHONY: model-gemma
model-gemma: deps ## fetch a second model for tests, Gemma 3 270M, into the models folder
	@scripts/fetch-model gemma

.PHONY: verify
verify: deps model model-gemma ## verify on real models what takes minutes: that the levels of utility hold, and more
	$(cgo) AIM_FULL=1 go test -v -p 1 -timeout 60m -run 'TestLevelsHold|TestLazyNoiseOnRealRows|TestSpanTargets|TestCacheGivesTheSameRows' ./llama/cpp ./cmd/aim

.PHONY: schemas
schemas: build model $(venv)/ready ## measure how many answers hold to random JSON schemas, unmodulated and at level 0.5
	$(venv)/bin/python tests/schemas/measure.py

.PHONY: lm-eval
lm-eval: build model $(evaluator)/ready ## run lm-evaluation-harness against our server, with further flags in LM_EVAL, and compare with llama.cpp
	$(evaluator)/bin/python -m pytest -rs -o tmp_path_retention_policy=none tests/lm-eval
	@rm -rf bin/lm-eval
	$(evaluator)/bin/python tests/lm-eval/run.py $(LM_EVAL)
	@[ ! -d bin/lm-eval ] || { $(cgo) AIM_LM_EVAL=$(CURDIR)/bin/lm-eval go test -v -timeout 60m -run TestHarnessScores ./llama/cpp; }

.PHONY: deploy-check
deploy-check: ## check the Dockerfile, Compose, Kubernetes, systemd and Prometheus files in deploy/, as far as their tools are at hand
	@scripts/deploy-check

.PHONY: deps
deps: ## check for compilers and headers, and install what is missing
	@scripts/deps

.PHONY: services
services: ## check for the databases and monitoring that tests start, and install what is missing
	@scripts/deps services || echo "the tests that need what is missing will be skipped" >&2

.PHONY: browser
browser: ## check for a Chromium for the tests of the playground, and install it where it is missing
	@scripts/deps browser || echo "the tests of the playground in a browser will be skipped" >&2

.PHONY: clean
clean: ## remove what was built here; models and the Go build cache stay
	rm -rf bin dist lib $(venv) $(venv)-clients $(js) $(vercel) $(browser) tests/browser/screenshots web/app/node_modules web/dist/*

$(golangci):
	@GOBIN=$(@D) CGO_ENABLED=0 go install github.com/golangci/golangci-lint/v2/cmd/golangci-lint@$(GOLANGCI)

$(evaluator)/ready: tests/lm-eval/requirements.txt
	@scripts/deps
	rm -rf $(evaluator)
	python3 -m venv $(evaluator)
	$(evaluator)/bin/python -m pip install --quiet --disable-pip-version-check --requirement tests/lm-eval/requirements.txt
	touch $@

$(venv)/ready: tests/e2e/requirements.txt
	@scripts/deps clients
	rm -rf $(venv)
	python3 -m venv $(venv)
	$(venv)/bin/python -m pip install --quiet --disable-pip-version-check --requirement tests/e2e/requirements.txt
	touch $@

$(venv)-clients/ready: tests/clients/requirements.txt
	@scripts/deps clients
	rm -rf $(venv)-clients
	python3 -m venv $(venv)-clients
	$(venv)-clients/bin/python -m pip install --quiet --disable-pip-version-check --requirement $<
	touch $@

$(js)/ready $(vercel)/ready $(browser)/ready: %/node_modules/ready: %/package-lock.json
	@scripts/deps clients
	cd $* && npm ci --silent --ignore-scripts
	touch $@
