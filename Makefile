# `make help` lists what there is.
PYTHON ?= python3
BIN := .venv/bin
export PATH := $(CURDIR)/$(BIN):$(PATH)
# pip compiles nothing here: most of what it installs is never imported, the rest is compiled when it first is
unexport PYTHONDONTWRITEBYTECODE
PIP := python -m pip install --no-compile --constraint constraints.txt

.PHONY: help clone repro test report ui lint clean
.DEFAULT_GOAL := help

help: ## List the commands.
	@grep -E '^[a-z]+:.*## ' Makefile | awk -F ':.*## ' '{printf "make %-8s %s\n", $$1, $$2}'

$(BIN)/installed: pyproject.toml constraints.txt
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(PIP) --editable .
	@touch $@

$(BIN)/installed-dev: $(BIN)/installed
	$(PIP) --quiet --editable '.[dev]'
	@touch $@

clone: # before minutes of installing: DVC needs git, which an unpacked ZIP does not have
	@git rev-parse --git-dir >/dev/null 2>&1 || { echo "error: $(CURDIR): not a git repository, and DVC needs one;" \
	"clone the project, or run 'git init && git add . && git commit -m start' here" >&2; exit 2; }

repro: clone $(BIN)/installed ## Install into .venv, then train and evaluate what changed: Tables 1-5, Figures 1-4, MLflow.
	@dvc repro

test: $(BIN)/installed-dev ## Run every test.
	@python -m pytest -n auto --dist loadfile --no-loadscope-reorder

lint: $(BIN)/installed-dev ## Check style, types and the order of the rooms.
	@ruff check . && ruff format --check . && pyright && lint-imports

report: $(BIN)/installed ## Open all results on one page in the browser.
	@longtail report

ui: $(BIN)/installed ## Show the runs in the MLflow UI on 127.0.0.1.
	@longtail ui

clean: ## Remove what the stages made (downloads, the work folder and MLflow's runs stay).
	rm -rf data models reports
