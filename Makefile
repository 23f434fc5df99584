# make run    sets up everything, then shows the network on this machine (ARGS="binance --port 9000" are passed on)
# make test   sets up everything, then lints, type-checks and runs every test
# Needs python3 (3.11 or newer) and make; everything else is installed into .venv from the lock files.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# The lock files hold no address; where packages come from is this machine's own configuration.
INSTALL := $(BIN)/uv pip install --quiet --python $(BIN)/python --compile-bytecode --require-hashes
PACKAGE := $(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation --editable .
LOCK := $(BIN)/uv pip compile --quiet --universal --generate-hashes --no-header --no-annotate $(UPGRADE)

.PHONY: run test lint faults simulate bench screenshots lock clean

run: $(VENV)/.run
	@$(BIN)/python hatch_build.py  # the Admin UI, if its sources have changed
	@$(BIN)/python -m compileall -q src  # ours too: some environments forbid Python to keep what it compiled
	@$(BIN)/perseus up --simulate $(ARGS)

WORKERS ?= 3
test: lint  # WORKERS side by side: most tests wait for other processes most of the time
	$(BIN)/python hatch_build.py test
	$(BIN)/pytest --numprocesses $(WORKERS) --dist loadfile $(ARGS)

lint: $(VENV)/.test
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache
	$(BIN)/python hatch_build.py lint  # of the Admin UI, which this also builds

faults: $(VENV)/.test  # the fault tests at full strength: minutes, not seconds
	PERSEUS_FAULT_TRIALS=40 $(BIN)/pytest tests/faults $(ARGS)

SCHEDULES ?= 100000
SEED ?= 1
simulate: $(VENV)/.test  # SCHEDULES=100000 from SEED=1 on; SCHEDULES=1 SEED=n tells one in full
	$(BIN)/python -m tests.simulation --schedules $(SCHEDULES) --seed $(SEED)

bench: $(VENV)/.test
	$(BIN)/python -m tests.bench $(ARGS)

screenshots: $(VENV)/.test  # the pictures in docs/images, of the real page; needs chromium
	$(BIN)/python hatch_build.py
	$(BIN)/python -m tests.e2e.screenshots

lock: $(VENV)/.uv  # UPGRADE=--upgrade takes the newest versions pyproject.toml allows
	$(LOCK) --group installer --output-file requirements-installer.lock
	$(LOCK) pyproject.toml --group build --output-file requirements.lock
	$(LOCK) pyproject.toml --group dev --constraints requirements.lock --output-file requirements-dev.lock
	$(BIN)/python -m tests.node lock

clean:
	rm -rf $(VENV) build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis \
	  ui/node_modules src/perseus/web/static/ui
	find src tests -name __pycache__ -type d -prune -exec rm -rf {} +

$(VENV)/.run: $(VENV)/.uv requirements.lock pyproject.toml
	$(INSTALL) -r requirements.lock
	$(PACKAGE)
	@touch $@

$(VENV)/.test: $(VENV)/.python tests/node/package-lock.json  # and the Node programs the tests talk to
	$(BIN)/python -m tests.node ci --silent
	@touch $@

$(VENV)/.python: $(VENV)/.uv requirements-dev.lock pyproject.toml
	$(INSTALL) -r requirements-dev.lock
	$(PACKAGE)
	@touch $@

$(VENV)/.uv: requirements-installer.lock
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "Perseus needs Python 3.11 or newer; '$(PYTHON)' is $$($(PYTHON) --version 2>/dev/null || echo missing)." \
	    "Name another one: make $(MAKECMDGOALS) PYTHON=/path/to/python3.11" >&2; exit 1; }
	@$(PYTHON) -m venv $(VENV) || { \
	  echo "Python could not make a virtual environment in $(VENV) (above is why)." \
	    "On Debian and Ubuntu: apt-get install python3-venv" >&2; exit 1; }
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-installer.lock
	@touch $@
