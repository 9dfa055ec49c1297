# Two commands matter: `make serve` and `make test`. Each sets up what it needs, in .venv, and says so.

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
PIP    := $(BIN)/python -m pip install --disable-pip-version-check --quiet --constraint constraints.txt
ARGS   ?=
comma  := ,
GPU    := $(shell nvidia-smi -L 2>/dev/null)

.DEFAULT_GOAL := help
.PHONY: help serve test quick minimum check lint types layers format bench clean system

help: ## Show what there is.
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

serve: $(VENV)/.serve ## Serve on http://localhost:8000 with the model in models/ (ARGS="--port 9000" to change).
	@echo "== serving; stop with Ctrl-C"
	@exec $(BIN)/lamegan serve $(ARGS)

test: system $(VENV)/.dev check ## Every gate and every test: what CI runs.
	@echo "== tests, in parallel"
	@rm -f .coverage .coverage.*
	$(BIN)/python -m pytest -n 2 --dist loadgroup -m "not load" --cov --cov-report= $(ARGS)
	@echo "== tests that keep the machine busy, one at a time"
	$(BIN)/python -m pytest -m load --cov --cov-append --cov-report=
	@echo "== coverage"
	$(BIN)/python -m coverage report

quick: $(VENV)/.dev ## The unit and contract tests that take seconds: no apt, no GPU, no browser. Under two minutes.
	$(BIN)/python -m pytest -n 2 --dist loadgroup -q -m "not load and not slow and not browser" tests/unit tests/contract tests/architecture $(ARGS)

minimum: ## The service's tests that need no training code, with the oldest versions that pyproject.toml promises.
	$(PYTHON) -m venv .venv-minimum
	.venv-minimum/bin/python -m pip install --disable-pip-version-check --quiet --constraint constraints-minimum.txt \
		$(shell grep -oE '^[a-z-]+' constraints-minimum.txt) 'uvicorn[standard]' threadpoolctl onnx pytest httpx hypothesis
	.venv-minimum/bin/python -m pytest -q -o filterwarnings=default tests/contract/test_uvicorn.py tests/unit/test_settings.py \
		tests/unit/test_logs.py tests/unit/test_codecs.py tests/unit/test_store.py tests/unit/test_scorer.py

check: lint types layers ## The gates without the tests: ruff, mypy, import-linter.

lint: $(VENV)/.dev
	@echo "== ruff"
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/.dev
	@echo "== mypy"
	$(BIN)/mypy
	$(BIN)/mypy tests benchmarks

layers: $(VENV)/.dev
	@echo "== import-linter"
	$(BIN)/lint-imports

format: $(VENV)/.dev ## Format the code.
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(VENV)/.dev ## Run the benchmarks that need no data; each prints ratios and records machine and commit.
	$(BIN)/python -m benchmarks.lassim
	$(BIN)/python -m benchmarks.service

clean: ## Remove the environment and what the tools left.
	rm -rf $(VENV) .venv-minimum build *.egg-info .coverage* .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache

system: ## Debian packages the tests use (browser, Prometheus, buildah); installs what is absent when it may.
	@.ci/system-packages

$(BIN)/python:
	@echo "== virtual environment in $(VENV)"
	@.ci/make-venv $(PYTHON) $(VENV)

$(VENV)/.serve: $(BIN)/python pyproject.toml constraints.txt
	@echo "== installing the service (a few minutes the first time)"
	$(PIP) --editable '.[dicom$(if $(GPU),$(comma)cuda)]' $(if $(GPU),--constraint docker/constraints-cuda.txt)
	@touch $@

$(VENV)/.dev: $(BIN)/python pyproject.toml constraints.txt
	@echo "== installing service, training and tests (a few minutes the first time)"
	$(PIP) --editable '.[dicom,train,dev]'
	@touch $@ $(VENV)/.serve
