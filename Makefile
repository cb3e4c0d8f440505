# A short cut only: README.md shows the same with python3 -m venv, pip and turnstream.
PYTHON ?= python3
# An index with other builds of torch and torchaudio, such as CPU-only ones; the rest comes from the lock.
TORCH_INDEX ?=
DEVICE ?= cpu
AUDIO ?=
OUT ?=
STACK ?= embedded
KILLS ?= 200
SEED ?= 1
MINUTES ?= 15
TESTS ?= tests/e2e/test_production.py
CASES ?= 5000
BIN := .venv/bin

.PHONY: help venv demo test test-real test-containers test-compose chaos soak fuzz up lint bench bench-engine bench-scheduler lock clean

help: ## List the targets.
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /  make \1\t/' | expand -t 24

venv: ## Make the virtual environment .venv from the lock; takes no time where it is there.
	@$(PYTHON) deploy/bootstrap.py $(if $(TORCH_INDEX),--torch-index '$(TORCH_INDEX)')

demo: venv ## Show who spoke when in a sample, or in AUDIO=path (result in OUT=path.json).
	@$(BIN)/turnstream demo $(if $(AUDIO),'$(AUDIO)') $(if $(OUT),--out '$(OUT)')

test: venv ## Run every test that needs only the Python package index.
	@$(BIN)/python -m pytest tests --ignore=tests/bench

test-real: venv ## Run the contracts and the stack on Apache Kafka and MinIO; wants a JDK (17 or newer), Maven and Go.
	@$(BIN)/python -m tests.support.real -- $(BIN)/python -m pytest tests/contract tests/e2e tests/chaos -m real

test-containers: venv ## Run the same on containers of Apache Kafka and MinIO; wants Docker, says so without.
	@$(BIN)/python -m tests.support.containers -- $(BIN)/python -m pytest tests/contract tests/e2e -m real

test-compose: venv ## Start docker-compose.yml by its own command lines without Docker, and test on it (TESTS=...); wants root on Linux, too.
	@$(BIN)/python -m tests.support.compose -- $(BIN)/python -m pytest $(TESTS)

chaos: venv ## Kill everything under load, and look whether anything was lost: STACK=embedded|local KILLS=200 SEED=1.
	@$(BIN)/python -m tests.chaos --stack $(STACK) --kills $(KILLS) --seed $(SEED) $(if $(OUT),--out '$(OUT)')

soak: venv ## Fifteen minutes of faults now and then: does anything grow? STACK=embedded|local MINUTES=15.
	@$(BIN)/python -m tests.chaos.soak --stack $(STACK) --minutes $(MINUTES) --seed $(SEED) $(if $(OUT),--out '$(OUT)')

up: venv ## Run the whole stack in this terminal until Ctrl-C.
	@$(BIN)/turnstream up

fuzz: venv ## Make thousands of generated calls to a stack, and compare the answers with /docs: CASES=5000 SEED=1.
	@$(BIN)/python -m tests.fuzz --cases $(CASES) --seed $(SEED) $(if $(OUT),--out '$(OUT)')

lint: venv ## Check style, types and which part may import which.
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/basedpyright --pythonpath $(BIN)/python
	@$(BIN)/lint-imports

bench: venv ## Measure what the service adds around the engine.
	@$(BIN)/python -m tests.bench.service

bench-engine: venv ## Compare stock pyannote, exact and fast on a set it makes (hours on a CPU); DEVICE=cuda for a GPU.
	@$(BIN)/python -m tests.bench.engine --device '$(DEVICE)' \
		--out docs/benchmarks/engine$(if $(filter-out cpu,$(DEVICE)),-$(DEVICE)).json
	@$(BIN)/python -m tests.bench.pages

bench-scheduler: venv ## Compare the scheduler with arrival order, micro-batches and the best that knows the future.
	@$(BIN)/python -m tests.bench.scheduler

COMPILE = uv pip compile --quiet --universal --generate-hashes --no-emit-index-url --no-annotate --no-header --python-version 3.11

lock: ## Compile requirements/*.txt anew from pyproject.toml (wants uv); versions stay unless UPGRADE=--upgrade.
	@$(COMPILE) --extra dev --constraints requirements/constraints.txt $(UPGRADE) \
		pyproject.toml --output-file requirements/lock.txt
	@$(COMPILE) --extra api --extra cli --constraints requirements/lock.txt pyproject.toml >requirements/api.txt
	@$(COMPILE) --extra worker --constraints requirements/lock.txt pyproject.toml >requirements/worker.txt
	@echo hatchling | $(COMPILE) --constraints requirements/lock.txt - >requirements/build.txt

clean: ## Remove the environment, caches, the demo's output and the data directory.
	rm -rf .venv .pytest_cache .ruff_cache .hypothesis .import_linter_cache demo-output data build dist
