# Safelight. `make serve` and `make test` need Python 3.11 and nothing else: they fetch uv and everything that is pinned.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
UV := $(shell command -v uv || echo .venv-tools/bin/uv)
export UV_PYTHON_DOWNLOADS := never
# Modules are compiled once, while they are installed: where nobody may write bytecode (PYTHONDONTWRITEBYTECODE, a read-only image)
# every start of every process would compile them all again, which takes longer than the start itself.
export UV_COMPILE_BYTECODE := 1
OURS = $(BIN)/python -m compileall -q src
# Many tests wait for servers, so three processes keep two cores busy; each has four gigabytes, for the servers that it starts.
WORKERS ?= $(shell awk -v cores="$$(nproc)" '/^MemTotal/ { most = int($$2 / 4e6); n = int(cores * 1.5); if (n > most) n = most; \
  print n < 2 ? 2 : n }' /proc/meminfo 2>/dev/null || echo 2)
# In CI, on a machine that others load, a test that fails is tried once more and named in the summary as RERUN.
RERUNS := $(if $(CI),--reruns 1 -rR)
COMPILE = $(UV) pip compile -q --universal --generate-hashes --no-emit-index-url --no-header --python-version 3.11 pyproject.toml

.PHONY: help
help: ## List the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sort | awk -F ':.*## ' '{printf "  %-12s %s\n", $$1, $$2}'

.venv-tools/bin/uv:
	@$(PYTHON) -m venv .venv-tools
	@.venv-tools/bin/pip install -q --disable-pip-version-check uv

$(VENV)/bin/python: | $(UV)
	@$(UV) venv -q --python $(PYTHON) $(VENV)

$(VENV)/.serve: requirements.lock pyproject.toml | $(VENV)/bin/python
	@$(UV) pip install -q --python $(BIN)/python --require-hashes -r requirements.lock
	@$(UV) pip install -q --python $(BIN)/python --no-deps -e .
	@$(OURS)
	@touch $@

$(VENV)/.servers: requirements-servers.lock pyproject.toml | $(VENV)/bin/python
	@$(UV) pip install -q --python $(BIN)/python --require-hashes -r requirements-servers.lock
	@$(UV) pip install -q --python $(BIN)/python --no-deps -e .
	@$(OURS)
	@touch $@ $(VENV)/.serve

$(VENV)/.bench: requirements-bench.lock $(VENV)/.dev | $(VENV)/bin/python
	@$(UV) pip install -q --python $(BIN)/python --require-hashes -r requirements-bench.lock
	@touch $@

$(VENV)/.security: requirements-security.lock $(VENV)/.dev | $(VENV)/bin/python
	@$(UV) pip install -q --python $(BIN)/python --require-hashes -r requirements-security.lock
	@touch $@

$(VENV)/.dev: requirements-dev.lock pyproject.toml | $(VENV)/bin/python
	@$(UV) pip install -q --python $(BIN)/python --require-hashes -r requirements-dev.lock
	@$(UV) pip install -q --python $(BIN)/python --no-deps -e .
	@$(OURS)
	@touch $@ $(VENV)/.serve

.PHONY: serve
serve: $(VENV)/.serve ## Start Safelight on http://127.0.0.1:8000 (ARGS="--port 9000 ...")
	@exec $(BIN)/safelight serve $(ARGS)

.PHONY: install
install: $(VENV)/.servers ## Install the drivers of S3, PostgreSQL, DynamoDB, Valkey and Temporal, too

REDBOT := tests/servers/redbot

# An environment of its own: what REDbot pins is none of our business.
$(REDBOT)/.env/.made: $(REDBOT)/redbot.lock | $(UV)
	@$(UV) venv -q --clear --python $(PYTHON) $(REDBOT)/.env
	@$(UV) pip install -q --python $(REDBOT)/.env/bin/python --require-hashes -r $(REDBOT)/redbot.lock
	@touch $@

.PHONY: test
test: $(VENV)/.dev $(REDBOT)/.env/.made ## Run every test (ARGS="-k name" for some)
	@$(BIN)/pytest -n $(WORKERS) --dist loadgroup $(RERUNS) $(ARGS)

.PHONY: fuzz-urls
fuzz-urls: $(VENV)/.dev ## 50,000 random delivery URLs, none a 5xx (FUZZ_URLS=..., FUZZ_SEED=...)
	@FUZZ_URLS=$${FUZZ_URLS:-50000} FUZZ_SEED=$${FUZZ_SEED:-$$RANDOM} $(BIN)/pytest tests/hostile/test_urls.py

.PHONY: fuzz-api
fuzz-api: $(VENV)/.dev ## Requests made from the OpenAPI document, 200 of each operation, by three callers (FUZZ_API=..., FUZZ_SEED=...)
	@FUZZ_API=$${FUZZ_API:-200} FUZZ_SEED=$${FUZZ_SEED:-$$RANDOM} $(BIN)/pytest -s tests/hostile/test_api.py

.PHONY: fuzz
fuzz: $(VENV)/.security ## Fuzz our own parsers by coverage (ARGS="--minutes 5 --only cursors"; --keep takes what was reached into tests/fuzz/corpus)
	@$(BIN)/python -m tests.fuzz.run $(ARGS)

.PHONY: hostile
hostile: $(VENV)/.dev ## 20,000 malformed files through the real door, each in five seconds (HOSTILE=..., HOSTILE_SEED=...)
	@HOSTILE=$${HOSTILE:-20000} HOSTILE_SEED=$${HOSTILE_SEED:-$$RANDOM} HOSTILE_DEADLINE_S=5 $(BIN)/pytest -s tests/hostile/test_malformed.py

.PHONY: chaos
chaos: $(VENV)/.dev ## Load, faults drawn from a seed, and an audit of every promise (ARGS="--profile servers --minutes 5 --seed 7")
	@$(BIN)/python -m tests.chaos.run $(ARGS)

.PHONY: tus-run
tus-run: $(VENV)/.dev ## 100 files of 1 to 30 MB by tus through clients and servers that are killed (TUS_FILES=..., TUS_SEED=...)
	@TUS_FILES=$${TUS_FILES:-100} TUS_LARGEST_MB=$${TUS_LARGEST_MB:-30} $(BIN)/pytest -s tests/acceptance/test_tus_kills.py $(ARGS)

.PHONY: events-run
events-run: $(VENV)/.dev ## 5,000 events of a store, doubled and out of order, through servers and workers that are killed (EVENTS=..., EVENTS_SEED=...)
	@EVENTS=$${EVENTS:-5000} $(BIN)/pytest -s tests/acceptance/test_store_events.py -k storm $(ARGS)

.PHONY: load
load: $(VENV)/.bench ## Three times as much as the server can do, of each kind of work and of all (ARGS="--quick")
	@$(BIN)/python bench/load.py $(ARGS)

.PHONY: soak
soak: $(VENV)/.bench ## Half an hour of everything, and whether memory, descriptors or latency grow (ARGS="--minutes 30")
	@$(BIN)/python bench/soak.py $(ARGS)

.PHONY: lint
lint: $(VENV)/.dev ## Style, formatting, the floors of the house, the guard of the locks
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/lint-imports
	@if grep -nE 'https?://' requirements*.lock $(wildcard package-lock.json */package-lock.json */*/package-lock.json */*/*/package-lock.json); then \
	  echo 'A lock names an address; make it again with `make locks`.'; exit 1; fi

.PHONY: types
types: $(VENV)/.dev ## mypy, strict
	@$(BIN)/mypy

.PHONY: docs
docs: $(VENV)/.dev ## Make the generated reference pages anew
	@$(BIN)/python docs/generate.py

.PHONY: bench
bench: $(VENV)/.bench ## Measure what the README reports (fetches photographs and sharp once; ARGS="develop --quick")
	@$(BIN)/python bench/run.py $(ARGS)

THUMBOR := bench/peers/.thumbor

$(THUMBOR)/.made: bench/peers/thumbor.lock | $(UV)
	@$(UV) venv -q --clear --python 3.11 $(THUMBOR)
	@$(UV) pip install -q --python $(THUMBOR)/bin/python --require-hashes -r bench/peers/thumbor.lock
	@touch $@

.PHONY: bench-delivery
bench-delivery: $(VENV)/.bench $(THUMBOR)/.made ## Measure cold delivery beside thumbor and sharp, and imgproxy where it is on the path (ARGS="--quick")
	@cd bench/sharp && npm ci --silent --no-audit --no-fund
	@$(BIN)/python bench/cold.py $(ARGS)

.PHONY: bench-workflows
bench-workflows: $(VENV)/.dev ## Measure what a run costs on SQLite, PostgreSQL and Temporal (ARGS="--quick")
	@$(BIN)/python bench/workflows.py $(ARGS)

.PHONY: bench-servers
bench-servers: $(VENV)/.bench ## Measure the product on S3 and PostgreSQL, which it starts itself (ARGS="develop --quick")
	@$(BIN)/python bench/servers.py $(ARGS)

build/sbom/bin/python: requirements.lock | $(UV)
	@$(UV) venv -q --clear --python $(PYTHON) build/sbom
	@$(UV) pip install -q --python $@ --require-hashes -r requirements.lock

.PHONY: sbom
sbom: $(VENV)/.security build/sbom/bin/python ## Write dist/safelight.cdx.json: what an installation is made of (CycloneDX)
	@$(BIN)/python deploy/sbom.py build/sbom/bin/python dist/safelight.cdx.json

.PHONY: audit
audit: $(VENV)/.security ## Ask the vulnerability database about every pin that is installed to serve (needs the network)
	@$(BIN)/pip-audit --strict --require-hashes --disable-pip -r requirements.lock $(ARGS)

CHROMIUM := /usr/bin/chromium

$(CHROMIUM):
	@if [ "$$(id -u)" = 0 ]; then as=; elif sudo -n true 2>/dev/null; then as=sudo; else \
	  echo 'The browser tests need $(CHROMIUM): as root, run `apt-get install -y chromium`.'; exit 1; fi; \
	$$as apt-get update -qq && $$as env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends chromium

$(VENV)/.browser: requirements-browser.lock $(VENV)/.dev
	@$(UV) pip install -q --python $(BIN)/python --require-hashes -r requirements-browser.lock
	@touch $@

NODE := tests/servers/oidc tests/browser/clients

%/node_modules/.package-lock.json: %/package-lock.json
	@if ! command -v npm >/dev/null; then \
	  if [ "$$(id -u)" = 0 ]; then as=; elif sudo -n true 2>/dev/null; then as=sudo; else \
	    echo 'The tests with an OpenID provider and upload clients need node: as root, run `apt-get install -y nodejs npm`.'; exit 1; fi; \
	  $$as apt-get update -qq && $$as env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends nodejs npm; fi
	@cd $* && npm ci --silent --no-audit --no-fund && touch node_modules/.package-lock.json

.PHONY: test-browser
test-browser: $(VENV)/.browser $(NODE:%=%/node_modules/.package-lock.json) | $(CHROMIUM) ## What needs more than Python: a real Chromium, IIIF viewers, upload clients, an OpenID provider on node; all are installed when they are missing
	@$(BIN)/pytest -o addopts="--strict-markers --strict-config --import-mode=importlib -ra" tests/browser $(ARGS)

.PHONY: locks
locks: | $(UV) ## Resolve the pinned, hashed requirement locks anew
	@$(COMPILE) --all-extras --group dev -o requirements-dev.lock
	@$(COMPILE) --extra heic -c requirements-dev.lock -o requirements.lock
	@$(COMPILE) --all-extras -c requirements-dev.lock -o requirements-servers.lock
	@$(COMPILE) --all-extras --group dev --group bench -c requirements-dev.lock -o requirements-bench.lock
	@$(COMPILE) --all-extras --group dev --group browser -c requirements-dev.lock -o requirements-browser.lock
	@$(COMPILE) --all-extras --group dev --group security -c requirements-dev.lock -o requirements-security.lock
	@cd bench/peers && $(abspath $(UV)) pip compile -q --universal --generate-hashes --no-emit-index-url --no-header --python-version 3.11 thumbor.in -o thumbor.lock
	@cd $(REDBOT) && $(abspath $(UV)) pip compile -q --universal --generate-hashes --no-emit-index-url --no-header --python-version 3.11 redbot.in -o redbot.lock

.PHONY: clean
clean: ## Remove environments and caches (never your data)
	@rm -rf $(VENV) .venv-tools .mypy_cache .ruff_cache .pytest_cache .import_linter_cache dist build
