SHELL := bash
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
S3 := .services/s3
S3_PORT ?= 8090

.PHONY: help install demo test test-s3 test-browser test-kill test-order fuzz mutants lint constraints clean

help: ## this list
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / {printf "make %-13s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

install: $(VENV)/installed ## install rayscale into .venv

demo: install ## a whole experiment on generated images, in minutes
	$(BIN)/rayscale demo

test: $(VENV)/installed-dev ## unit tests, and tests on a real local Ray; each group runs, whatever fails
	@failed=0; PS4='> '; set -x; \
	$(BIN)/python -m pytest -n 2 -m "not cluster and not s3 and not browser and not kill and not types" || failed=1; \
	$(BIN)/python -m pytest -n 2 --dist loadfile -m "cluster and not s3 and not browser and not kill" \
	--ignore tests/orchestrator/cluster_jobs || failed=1; \
	$(BIN)/python -m pytest -m "cluster and not s3 and not browser and not kill" tests/orchestrator/cluster_jobs || \
	failed=1; { set +x; } 2>/dev/null; exit $$failed

test-s3: $(VENV)/installed-dev ## tests on a real S3 server, started and stopped here
	@settings=$$(PYTHON=$(PYTHON) tests/services/start-s3.sh $(S3) $(S3_PORT)) && eval "$$settings" && \
	trap 'tests/services/stop-s3.sh $(S3)' EXIT && $(BIN)/python -m pytest -m s3

test-browser: $(VENV)/installed-dev ## the HTML report in headless Chromium
	@{ command -v chromium && command -v chromedriver; } >/dev/null || \
	{ echo "The browser tests need two Debian packages: apt-get install chromium chromium-driver"; exit 1; }
	$(BIN)/python -m pytest -m browser

test-kill: $(VENV)/installed-dev ## kill real processes and resume them
	$(BIN)/python -m pytest -n 2 -m kill

fuzz: $(VENV)/installed-dev ## damaged inputs for every parser (10 minutes)
	OMP_NUM_THREADS=1 $(BIN)/python tests/fuzz/run.py

mutants: $(VENV)/installed-dev ## mutation testing of the modules that guard data (an hour)
	$(BIN)/pip install --quiet -c constraints.txt -e '.[test,dev,mutants]'
	OMP_NUM_THREADS=1 $(BIN)/python tests/mutants/run.py

test-order: $(VENV)/installed-dev ## unit tests in random order
	$(BIN)/pip install --quiet -c constraints.txt -e '.[test,dev,order]'
	$(BIN)/python -m pytest -n 2 --random-order

lint: $(VENV)/installed-dev ## ruff and strict mypy, and that it sees seeded faults
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy --strict
	$(BIN)/python -m pytest -m types tests/test_seeded_faults.py

constraints: $(VENV)/installed-dev ## refresh constraints.txt with the newest releases
	$(BIN)/pip install --upgrade --upgrade-strategy eager -e '.[test,dev,bench,mutants,order]'
	@{ sed -n 1,2p constraints.txt; \
	$(BIN)/pip freeze --exclude-editable --exclude pip --exclude setuptools --exclude wheel; } > constraints.new
	mv constraints.new constraints.txt

clean: ## remove .venv, test services and caches
	if [ -d $(S3) ]; then tests/services/stop-s3.sh $(S3); fi
	rm -rf $(VENV) .services build *.egg-info .pytest_cache .ruff_cache .mypy_cache .hypothesis

$(BIN)/pip:
	@$(PYTHON) -c 'import sys; v = sys.version_info; v >= (3, 11) or sys.exit( \
	f"rayscale needs Python 3.11 or newer and $(PYTHON) is {v[0]}.{v[1]}: make PYTHON=python3.11 $(MAKECMDGOALS)")'
	$(PYTHON) -m venv $(VENV)

$(VENV)/installed: pyproject.toml constraints.txt | $(BIN)/pip
	$(BIN)/pip install --quiet -c constraints.txt -e .
	@touch $@

$(VENV)/installed-dev: pyproject.toml constraints.txt | $(BIN)/pip
	$(BIN)/pip install --quiet -c constraints.txt -e '.[test,dev]'
	@touch $@ $(VENV)/installed
