# Every target does all that it needs from a bare clone: it makes .venv, installs the package there and runs.
# `make test PYTHON=python3.12` takes another Python; remove .venv to change it later.

PYTHON ?= python3
WORKERS ?= 2
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed-for-koine

# One thread per process: the tests run in $(WORKERS) processes, and more threads than cores only wait for each other.
THREADS := OMP_NUM_THREADS=1

BENCHMARKS := tour.py world_render.py ferret_sampler.py curation_matching.py curation_run.py vqvae_sampling.py \
  beit3_captioning.py

.PHONY: tour test check nano claims bench help
.DEFAULT_GOAL := help

help:
	@echo "make tour    one scene through every system: tour/index.html"
	@echo "make test    the test suite"
	@echo "make check   format, lint and types"
	@echo "make nano    retrain all nano weights (hours)"
	@echo "make claims  re-run the papers' claims (hours)"
	@echo "make bench   measure the speeds that are claimed, against their bars (minutes)"

$(INSTALLED): pyproject.toml
	@$(PYTHON) -c 'import sys; v = sys.version_info; sys.exit(0 if (3, 11) <= v < (3, 14) else \
	  f"error: $(PYTHON) is Python {v.major}.{v.minor}: run make with PYTHON=python3.11, python3.12 or python3.13")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --upgrade pip
	$(BIN)/python -m pip install --quiet --editable '.[dev]'
	@touch $@

tour: $(INSTALLED)
	$(BIN)/koine tour

test: $(INSTALLED)
	$(THREADS) $(BIN)/python -m pytest -n $(WORKERS) --dist loadgroup $(ARGS)

check: $(INSTALLED)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

nano: $(INSTALLED)
	$(BIN)/koine train language-model --ship
	$(BIN)/koine train clip --ship
	$(BIN)/koine train in-context-language-model --ship
	@for system in ferret vqvae spae beit3 metaclip; do $(BIN)/koine train $$system --ship || exit 1; done

claims: $(INSTALLED)
	$(BIN)/koine claims

bench: $(INSTALLED)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[bench]'
	@failed=0; for script in $(BENCHMARKS); do \
	  echo; echo "$$script"; $(THREADS) $(BIN)/python benchmarks/$$script || failed=1; done; exit $$failed
