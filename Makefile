# Requires Python 3.11 or newer, make and a shell. Everything else is installed into .venv.

PYTHONS ?= python3.14 python3.13 python3.12 python3.11 python3 python
PY := .venv/bin/python
UV := .venv/uv/bin/uv

# .venv is created again when the folder, the interpreter or uv changes, its packages when these files change.
PLACE := { pwd -P; cksum < uv.txt; $(PY) -c 'import sys; print(sys.base_prefix, sys.version)'; } 2>/dev/null
PACKAGES := cat pyproject.toml uv.lock | cksum

unexport VIRTUAL_ENV PYTHONHOME PYTHONPATH
# Without bytecode files, each program and each workflow sandbox would compile its modules again.
unexport PYTHONDONTWRITEBYTECODE
export UV_PROJECT_ENVIRONMENT := .venv
export UV_PYTHON_DOWNLOADS := never
export PIP_USER := 0

.PHONY: help install demo up test tests quick units chaos lint bench release licenses rehearsal clean environment packages peers

help:
	@echo 'make demo     process a sample shop with everything embedded'
	@echo 'make test     run all tests, and check style, types and imports'
	@echo 'make quick    check the same, and run the tests that need no server'
	@echo 'make chaos    kill workers, cut connections and more, at random for 200 s; SEED=7 repeats a run'
	@echo 'make up       run everything embedded until Ctrl-C'
	@echo 'make install  only set up .venv; the other targets do it when needed'
	@echo 'make lint     only check style, types and imports'
	@echo 'make bench    compare the cost of an order with other engines (takes about half an hour)'
	@echo 'make release  build source archive, wheel, bill of materials and checksums into dist'
	@echo 'make rehearsal  run docker-compose.yml with an engine and images of its own, and check it (root, Go)'
	@echo 'make clean    remove .venv, .bench and caches, but not the data in .commerce'

install:
	@test "$$($(PLACE))" = "$$(cat .venv/.place 2>/dev/null)" || $(MAKE) --no-print-directory environment
	@test "$$($(PACKAGES))" = "$$(cat .venv/.packages 2>/dev/null)" || $(MAKE) --no-print-directory packages

demo: install
	@$(PY) -m starter demo

up: install
	@$(PY) -m starter up

# Checks and tests at the same time: both take long.
test: install
	@$(MAKE) --no-print-directory -j 2 lint tests

# More workers than cores, since tests often wait. Tests are handed out one by one, in the order of tests/order.py.
tests: install
	@$(PY) -m pytest -n 5 --dist load --maxschedchunk 1

quick: install
	@$(MAKE) --no-print-directory -j 2 lint units

units: install
	@$(PY) -m pytest -q -n 2 --dist load -m 'not (postgres or temporal or programs)'

# COMMERCE_CHAOS_SECONDS sets the length of the run.
chaos: install
	@seed="$${SEED:-$$($(PY) -c 'import random; print(random.randrange(10**6))')}"; echo "make chaos SEED=$$seed"; \
	COMMERCE_CHAOS_SEED="$$seed" COMMERCE_CHAOS_SECONDS="$${COMMERCE_CHAOS_SECONDS:-200}" \
		$(PY) -m pytest -q -s tests/system/test_chaos.py

lint: install
	@$(PY) -m ruff check .
	@$(PY) -m ruff format --check .
	@$(PY) -m mypy
	@$(PY) -c 'from importlinter.cli import lint_imports_command as check; check()'

# BENCH: options of benchmarks/compare.py, such as '--rounds 1' or '--before ../a-worktree-of-an-earlier-version'.
bench: install
	@$(MAKE) --no-print-directory peers || echo 'The environment of DBOS and Restate is incomplete: what is missing is left out'
	@PYTHONPATH=. $(PY) benchmarks/compare.py $(BENCH)

# The same commit gives the same files.
release: install
	@deploy/release/build

licenses: install
	@$(UV) export --quiet --locked --no-dev --all-extras --preview-features sbom-export --format cyclonedx1.5 \
		--output-file .venv/uv.cdx.json >/dev/null && $(PY) deploy/release/sbom.py --licenses .venv/uv.cdx.json > docs/licenses.md

# REHEARSAL: names of parts or checks, such as 'entrances' or 'kills backup'.
rehearsal: install
	@deploy/rehearsal/run $(REHEARSAL)

# The other engines have an environment of their own: nothing in the project depends on them.
peers:
	@test -e .bench/venv/.complete || { \
		UV_PROJECT_ENVIRONMENT=.bench/venv $(UV) sync --quiet --locked --no-dev --python $(PY) && \
		$(UV) pip install --quiet --require-hashes --python .bench/venv/bin/python -r benchmarks/engines/requirements.txt && \
		touch .bench/venv/.complete; }
	@test -e .bench/node/node_modules || npm install --silent --ignore-scripts --prefix .bench/node @restatedev/restate-server@1.7.12

clean:
	@rm -rf .venv .bench .mypy_cache .ruff_cache .import_linter_cache .hypothesis dist

environment:
	@python=; for candidate in $(PYTHONS); do \
		python=$$("$$candidate" -c 'import sys; sys.version_info < (3, 11) or print(sys._base_executable)' 2>/dev/null) || continue; \
		[ -z "$$python" ] || break; \
	done; \
	[ -n "$$python" ] || { echo 'Python 3.11 or newer is required; found none among: $(PYTHONS)' >&2; exit 1; }; \
	echo "Creating .venv with $$python"; \
	rm -rf .venv && "$$python" -m venv --without-pip .venv || exit 1; \
	if $(PY) -m ensurepip >/dev/null 2>&1; then pip=$(PY); else pip=$$python; fi; \
	"$$pip" -m pip --version >/dev/null 2>&1 || { \
		echo "$$python has neither ensurepip nor pip: install it (Debian, Ubuntu: apt install python3-venv)" >&2; exit 1; }; \
	"$$pip" -m pip install -qq --disable-pip-version-check --target .venv/uv --require-hashes --only-binary :all: -r uv.txt || exit 1; \
	{ $(PLACE); } > .venv/.place

packages:
	@echo 'Installing the locked packages'
	@cache="$${UV_CACHE_DIR:-$${XDG_CACHE_HOME:-$${HOME:-/nonexistent}/.cache}/uv}"; \
	mkdir -p "$$cache" 2>/dev/null && [ -w "$$cache" ] || export UV_NO_CACHE=1; \
	$(UV) sync --quiet --locked --all-extras --python $(PY)
	@$(PACKAGES) > .venv/.packages
