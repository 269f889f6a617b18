# make help lists the targets. Every target that needs packages sets up .venv first.

SHELL := /bin/bash
VENV := .venv
PY := $(VENV)/bin/python
STAMP := $(VENV)/setup.stamp
export TF_CPP_MIN_LOG_LEVEL ?= 2

# The interpreter that makes .venv: the first of these that runs and is Python 3.10 to 3.13, unless PYTHON is given.
CANDIDATES := python3.11 python3.12 python3.13 python3.10 python3
SUITS := import sys; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 13))
find_python = $(shell for name in $(CANDIDATES); do "$$name" -c '$(SUITS)' 2>/dev/null && echo "$$name" && break; done)
ifeq ($(origin PYTHON),undefined)
PYTHON = $(find_python)
endif

# .venv is whole when its interpreter runs, the installation ended (the stamp), and the clone has not moved since.
WHOLE := $(shell $(PY) -c '' 2>/dev/null && [ "$$(cat $(STAMP) 2>/dev/null)" = "$(CURDIR)" ] && echo yes)

.PHONY: help setup demo test lint bench clean FORCE
.DEFAULT_GOAL := help

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "make %-6s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

setup: $(STAMP) ## make .venv with the tested packages (PYTHON=... chooses the interpreter); harmless to repeat

$(STAMP): setup.py constraints.txt $(if $(WHOLE),,FORCE)
	@python="$(PYTHON)"; \
	if [ -z "$(WHOLE)" ]; then \
	  if [ -z "$$python" ] || ! "$$python" -c '$(SUITS)' 2>/dev/null; then \
	    what="$$python is not"; [ -n "$$python" ] || what="none of $(CANDIDATES) is"; \
	    echo "error: $$what a Python 3.10 to 3.13; install one, or name it: make setup PYTHON=/path/to/python3.11" >&2; \
	    exit 2; \
	  fi; \
	  rm -rf $(VENV); \
	  "$$python" -m venv $(VENV); \
	fi
	@rm -f $(STAMP)
	@echo "Installing the packages of constraints.txt into $(VENV) (a few minutes the first time)"
	@$(PY) -m pip install --quiet --disable-pip-version-check --no-input -c constraints.txt setuptools wheel
	@$(PY) -m pip install --quiet --disable-pip-version-check --no-input --no-build-isolation -c constraints.txt -e '.[dev]'
	@printf '%s\n' "$(CURDIR)" > $(STAMP)

demo: setup ## search, train, evaluate and export on the built-in data set (about ten minutes on 2 cores)
	@$(PY) -m autonl_tf.demo

test: setup ## run the tests, some files at once
	@$(PY) -m pytest -n auto --maxprocesses=4 --dist=loadfile --no-loadscope-reorder

lint: setup ## check style: ruff, and shellcheck on every shell script
	@$(PY) -m ruff check .
	@$(PY) -m ruff format --check .
	@$(VENV)/bin/shellcheck -x tpu/*.sh autonl_tf/export/*.sh .ci/run .ci/tf220

bench: demo ## the demo, then the scripts of benchmarks/ that need no data, the endless ones for some minutes (hours)
	@set -e; for script in benchmarks/*.py; do \
	  case $$script in \
	    */own_data.py|*/fine_tuning.py|*/plain_fine_tuning.py|*/from_pretrained.py|*/real_networks.py) echo "== $$script: needs photographs"; continue;; \
	    */fuzz_readers.py) flags=--minutes=2;; */search_evidence.py) flags=--minutes=20;; *) flags=;; \
	  esac; \
	  echo "== $$script $$flags"; $(PY) $$script $$flags || [ $$? -eq 42 ]; \
	done

clean: ## remove .venv, caches and build products; runs/ stays
	@rm -rf $(VENV) .venv-tf220 build dist *.egg-info .pytest_cache .ruff_cache .hypothesis
	@find . -name __pycache__ -type d -not -path './.git/*' -prune -exec rm -rf {} +

FORCE:
