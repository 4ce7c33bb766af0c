.DEFAULT_GOAL := help
.PHONY: help setup demo demo-stop lock test check generate bench bench-io speech sim soak corpus clean
export PYTHON
# Where it is set, each of the hundreds of Pythons that a target starts compiles everything that it imports anew.
unexport PYTHONDONTWRITEBYTECODE

BIN := .venv/bin
PYTEST_ARGS ?=
SIM_ARGS ?=
SOAK_ARGS ?=
CORPUS_ARGS ?=
BENCH_ARGS ?=
BENCH_IO_ARGS ?=
SPEECH_ARGS ?=

help: ## Show the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: ## Install what the other targets need (they all do it first)
	@hack/setup.sh

demo: setup ## Run the product on this machine's real parts; KEEP=1 leaves it running, MODEL=whisper-tiny takes a real model
	@$(BIN)/python -m voxfleet_dev.demo $(if $(KEEP),--keep) $(if $(MODEL),--model $(MODEL))

demo-stop: setup ## End a demo that KEEP=1 left running
	@$(BIN)/python -m voxfleet_dev.demo --stop

test: setup ## Run the tests, three at a time; PYTEST_ARGS="-k name" narrows them
	@$(BIN)/python -m pytest -m "not soak" -n 3 --dist worksteal $(PYTEST_ARGS)

check: setup ## Check format, lint, types, layering and generated files
	@$(BIN)/ruff format --check --quiet . || { echo "run: .venv/bin/ruff format ." >&2; exit 1; }
	@$(BIN)/ruff check --quiet .
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-logo
	@$(BIN)/python hack/generate.py --check

generate: setup ## Write the CRDs and the reference pages from types and lists
	@$(BIN)/python hack/generate.py

bench: setup ## Measure, print and write .bench/results.json; BENCH_ARGS="--only whisper"
	@$(BIN)/python tests/bench/run.py $(BENCH_ARGS)

bench-io: setup ## Measure reading and writing audio beside librosa and soundfile, which it installs
	@hack/setup.sh peers
	@$(BIN)/voxfleet-agent bench io $(BENCH_IO_ARGS)

speech: setup ## Measure word errors on real speech beside mlx-audio's own and write .bench/speech.json; SPEECH_ARGS=--quick
	@$(BIN)/python -m voxfleet_accuracy $(SPEECH_ARGS)

sim: setup ## Run 10,000 seeds of the control plane on a virtual clock; SIM_ARGS="--seed 123 --trace" replays one
	@$(BIN)/python tests/sim/run.py $(SIM_ARGS)

soak: setup ## Restore etcd, share a Mac, run jobs on one agent under kill -9, and on a fleet whose every part is hurt, and write .soak/results.json; SOAK_ARGS="--only fleet --runs 3"
	@$(BIN)/python -m pytest -m soak tests/soak
	@$(BIN)/python tests/soak/run.py $(SOAK_ARGS)

corpus: setup ## Run the audio files inside other projects' packages through the agent and compare with the recorded table; CORPUS_ARGS=--record
	@$(BIN)/python -m voxfleet_package_corpus $(CORPUS_ARGS)

lock: setup ## Renew requirements.lock from pyproject.toml
	@$(BIN)/uv pip compile --quiet --universal --generate-hashes --no-emit-index-url --no-header \
		--extra agent --extra operator --extra plot --group dev --upgrade pyproject.toml -o requirements.lock
	@$(BIN)/uv pip compile --quiet --universal --generate-hashes --no-emit-index-url --no-header \
		--extra operator --upgrade -c requirements.lock pyproject.toml -o requirements-operator.lock
	@$(BIN)/uv pip compile --quiet --universal --generate-hashes --no-emit-index-url --no-header \
		--extra agent --extra tts --upgrade -c requirements.lock pyproject.toml -o requirements-tts.lock
	@$(BIN)/uv pip compile --quiet --universal --generate-hashes --no-emit-index-url --no-header \
		--group bench --upgrade -c requirements.lock pyproject.toml -o requirements-bench.lock
	@$(BIN)/uv pip compile --quiet --universal --python-version 3.12 --generate-hashes --no-emit-index-url --no-header \
		--group focus --upgrade -o requirements-focus.lock

clean: ## Remove what was built in this checkout (never the cache outside it)
	rm -rf .venv .demo .bench .sim .soak dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
