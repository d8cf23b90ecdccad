# `make demo` and `make test` need Python >= 3.10 and the network, nothing else. What they make is in .venv/; `make clean` removes it.
# PYTHON=/path/to/python chooses the interpreter.

PYTHON ?= $(shell for python in python3 python3.13 python3.12 python3.11 python3.10; do \
	"$$python" -c 'import sys; sys.exit(sys.version_info < (3, 10))' 2>/dev/null && echo "$$python" && break; done)
PYTEST_ARGS ?= -n auto --dist worksteal

COMPILED := $(wildcard cra/_speedups.pyx cra/_compiled/*.pxi cra/_kernel/*.c cra/_kernel/*.h)
BIN := .venv/bin
PIP := PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_CACHE_DIR="$(CURDIR)/.venv/cache" $(BIN)/python -m pip install --quiet

.PHONY: demo test dev clean
.DELETE_ON_ERROR:

# The main job on a real atlas: a resolve, an execution, a refused execution, the verified trace.
demo: .venv/demo
	@$(BIN)/python examples/github/agent.py

# Every test that this machine can run.
test: .venv/test
	$(BIN)/python -m pytest $(PYTEST_ARGS)

# What the gates in ci/ need beyond that: linters, type checker, build front end, benchmarks.
dev: .venv/dev

.venv/demo: extras = cli
.venv/test: extras = all,test
.venv/dev: extras = all,test,perf,fuzz,dev

.venv/demo .venv/test .venv/dev: pyproject.toml setup.py $(COMPILED) | $(BIN)/python
	@echo "installing cra[$(extras)] into .venv"
	@$(PIP) --editable ".[$(extras)]"
	@$(BIN)/python -c 'import cra; print("cra runs", {"compiled": "compiled", "pure": "as pure Python: there is no compiled half, or CRA_PURE_PYTHON is set"}[cra.implementation()])'
	@touch $@

$(BIN)/python:
	@test -n "$(PYTHON)" || { echo "Python 3.10 or newer is needed; name one with: make PYTHON=/path/to/python3" >&2; exit 1; }
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 10))' || \
		{ echo "$(PYTHON) is not Python 3.10 or newer; name one with: make PYTHON=/path/to/python3" >&2; exit 1; }
	@"$(PYTHON)" -m venv .venv || { rm -rf .venv; echo "could not make .venv; Debian and Ubuntu need: apt install python3-venv" >&2; exit 1; }

clean:
	rm -rf .venv .ci/out build dist *.egg-info cra/*.so
