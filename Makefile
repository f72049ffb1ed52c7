# Everything here works on a fresh clone with Python 3.11 or newer and nothing else: a virtual environment is made when
# there is none, and brought up to date when pyproject.toml changed. PYTHON=… names another interpreter, VENV=… another place.

.PHONY: help demo test coverage check bench fuzz generate clean
.DEFAULT_GOAL := help

PYTHON ?= $(shell for each in python3 python3.13 python3.12 python3.11 python; do \
	$$each -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && { echo $$each; break; }; done)
VENV ?= .venv
RUN := $(VENV)/bin/python
STAMP := $(VENV)/installed
MINUTES ?= 2

# Byte-code that is never written is compiled at every start of every process: the tests alone would take half as long again.
unexport PYTHONDONTWRITEBYTECODE

help:
	@echo "make demo      two machines' daemons and a broker on this one exchange messages, told step by step"
	@echo "make test      all tests; every branch of cryptography, codec and chain must be taken"
	@echo "make coverage  all tests, with the branches that they take in everything: twice the time"
	@echo "make check     lint, format, types, import fences, generated files"
	@echo "make bench     the figures, to bench/results.json"
	@echo "make fuzz      random and mutated bytes at every parser, MINUTES=$(MINUTES)"
	@echo "make powercut  power cuts of outbox, inbox and broker, CUTS=1000 of each, or MINUTES=…"
	@echo "make killloop  real kill -9 of daemons and broker under load, CYCLES=1000, or MINUTES=…"
	@echo "make sim       simulated hours of bad weather, SEEDS=1000 FIRST=1, or as many as MINUTES=… give"
	@echo "make soak      daemons and a broker for MINUTES=10 with kills and a bad network, growth measured"
	@echo "make mutation  small faults in cryptography, codec and chain, of which the tests must notice nine of ten"
	@echo "make mutants   signed objects with a field changed, none of which may be accepted, COUNT=1000000"
	@echo "make generate  rewrite the generated files"
	@echo "make clean     remove what the others made"

$(STAMP): pyproject.toml tools/make_venv.py clients/bin/mesh
	@test -n "$(PYTHON)" || { echo "no Python 3.11 or newer found: install one, or name it with PYTHON=…" >&2; exit 1; }
	@$(PYTHON) tools/make_venv.py $(VENV) --extra dev
	@touch $@

demo: $(STAMP)
	@$(RUN) tools/demo.py

# Every branch of these is to be taken by a test; those that only declare the calls of daemon and broker are others' concern.
PROVEN := protocol/mesh_protocol/*.py,protocol/mesh_protocol/wire/*.py
DECLARED := */op.py,*/registry.py,*/broker_api.py,*/broker_meeting.py,*/crashpoints.py

# The tests that start whole programs come last, three at a time: each waits for its own programs most of its life.
# Only where every branch must be taken is coverage measured: it doubles the time of what it watches.
test: $(STAMP)
	@$(RUN) -m coverage erase
	@failed=0; \
	$(RUN) -m coverage run --source=mesh_protocol -m pytest -n auto --dist worksteal tests/protocol || failed=1; \
	$(RUN) -m coverage combine --quiet; \
	echo "branches of cryptography, codec and chain:"; \
	$(RUN) -m coverage report --include='$(PROVEN)' --omit='$(DECLARED)' --precision=2 --fail-under=100 || failed=1; \
	$(RUN) -m pytest -n auto --dist worksteal --ignore=tests/e2e --ignore=tests/protocol || failed=1; \
	$(RUN) -m pytest -n 3 --dist worksteal tests/e2e || failed=1; \
	exit $$failed

coverage: $(STAMP)
	@$(RUN) -m coverage erase
	@failed=0; \
	$(RUN) -m coverage run -m pytest -n auto --dist worksteal --ignore=tests/e2e || failed=1; \
	$(RUN) -m coverage run -m pytest -n 3 --dist worksteal tests/e2e || failed=1; \
	$(RUN) -m coverage combine --quiet && $(RUN) -m coverage report || failed=1; \
	exit $$failed

check: $(STAMP)
	@failed=0; \
	say() { name=$$1; shift; if said=$$("$$@" 2>&1); then echo "ok      $$name"; else echo "FAILED  $$name"; echo "$$said"; failed=1; fi; }; \
	say "ruff check" $(RUN) -m ruff check --quiet; \
	say "ruff format" $(RUN) -m ruff format --check --quiet; \
	say "mypy" $(RUN) -m mypy; \
	say "mypy tools bench" $(RUN) -m mypy tools bench; \
	say "import fences" $(VENV)/bin/lint-imports; \
	for each in tools/generate_*.py; do say "$$each --check" $(RUN) $$each --check; done; \
	exit $$failed

bench: $(STAMP)
	@$(RUN) -m bench

fuzz: $(STAMP)
	@$(RUN) tools/run_fuzz.py --minutes $(MINUTES)

.PHONY: powercut killloop soak sim mutants mutation
SEEDS ?= 1000
FIRST ?= 1
CUTS ?= 1000
CYCLES ?= 1000
COUNT ?= 1000000
# The time that was asked for; MINUTES has a value of its own for `make fuzz`.
ASKED_MINUTES := $(if $(filter file,$(origin MINUTES)),,--minutes $(MINUTES))

powercut: $(STAMP)
	@$(RUN) tools/run_powercut.py --cuts $(CUTS) $(ASKED_MINUTES)

killloop: $(STAMP)
	@$(RUN) tools/run_killloop.py --cycles $(CYCLES) $(ASKED_MINUTES)

sim: $(STAMP)
	@$(RUN) tools/run_sim.py --seeds $(SEEDS) --first $(FIRST) $(ASKED_MINUTES)

mutants: $(STAMP)
	@$(RUN) tools/run_mutants.py --count $(COUNT)

mutation: $(STAMP)
	@$(RUN) tools/run_mutation.py

soak: $(STAMP)
	@$(RUN) tools/run_soak.py $(ASKED_MINUTES)

generate: $(STAMP)
	@$(RUN) tools/generate_table.py && for each in tools/generate_*.py; do $(RUN) $$each || exit 1; done

clean:
	rm -rf $(VENV) .venv-* tests/javascript/node_modules build dist .coverage .coverage.* htmlcov bench/results.json
	rm -rf .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache .grimp_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
