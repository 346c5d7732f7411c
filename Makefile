# Every target makes its own .venv with the standard library's venv and pip: a fresh machine needs only Python 3.11.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

# Else every process that a test starts would compile all of ctxgc anew.
unexport PYTHONDONTWRITEBYTECODE

# Temporary files of the fast tests lie in memory where the system has a folder for memory: a quarter of the time was a wait
# for the disk. `make test` writes to the disk.
MEMORY := $(firstword $(wildcard /dev/shm) $(TMPDIR) /tmp)

.PHONY: run test check bench docs format clean
run: $(READY)           ## Collect a sample session, or: make run ARGS="PATH…"
	@$(BIN)/ctxgc demo $(ARGS)

test: $(READY)          ## The whole suite, on two processes.
	$(BIN)/python -m pytest -n 2 --dist loadgroup

check: $(READY)         ## Format, lint, strict types, fast tests: under a minute.
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	TMPDIR=$(MEMORY) CTXGC_HYPOTHESIS=check $(BIN)/python -m pytest -m "not slow and not corpus" -x -n 2 --dist worksteal \
	  -o tmp_path_retention_policy=failed

bench: $(READY)         ## Every benchmark; counted work is held against perf/limits.toml.
	$(BIN)/python -m perf.run $(ARGS)

docs: $(READY)          ## The reference pages that are made from the code.
	$(BIN)/python -m docs.generate
	$(BIN)/python -m clients.generate

format: $(READY)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

$(READY): pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "ctxgc needs Python 3.11 or newer; try: make PYTHON=python3.12")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[dev]'
	@touch $(READY)

clean:
	rm -rf $(VENV) build dist *.egg-info
