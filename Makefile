# Each target does its own set-up. Assumed: Python 3.11 or newer, make, a POSIX shell.
#   make demo                   the ablation on real data
#   make test                   the tests, in two processes (WORKERS=4: in four); ARGS=--slow=all: the slow ones too
#   make demo PYTHON=python3.12 with another Python;  VENV=folder for another virtual environment
.POSIX:

PYTHON = python3
VENV = .venv
WORKERS = 2
BIN = $(VENV)/bin
# Matplotlib draws to files here, and pip should not talk about itself.
RUN = MPLBACKEND=Agg PIP_DISABLE_PIP_VERSION_CHECK=1

help:
	@echo 'make demo   train and compare quantized spiking networks on real data: table, figures, verdicts'
	@echo 'make test   run the tests; the slow ones too with ARGS=--slow=all'
	@echo 'make lint   ruff: rules and format      make types  mypy'
	@echo 'make bench  speed and memory against snnTorch, Brevitas and the floors, behind equality tests'
	@echo 'make clean  remove the virtual environment and the tool caches'

demo: $(VENV)/.demo
	$(RUN) $(BIN)/squat ablate $(ARGS)

test: $(VENV)/.dev
	$(RUN) $(BIN)/python -m pytest -n $(WORKERS) --dist loadfile $(ARGS)

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/.dev
	$(BIN)/mypy

bench: $(VENV)/.dev
	$(RUN) $(BIN)/squat bench $(ARGS)

clean:
	rm -rf $(VENV) .hypothesis .mypy_cache .pytest_cache .ruff_cache
	find src benchmarks -name '*.nb[ic]' -exec rm -f {} +

# Stamps: installed again only where the dependencies changed. The package is installed in place, so code needs no stamp.
$(VENV)/.demo: pyproject.toml constraints.txt $(VENV)/.made
	$(RUN) $(BIN)/python -m pip install --quiet -c constraints.txt -e .
	@touch $@

$(VENV)/.dev: pyproject.toml constraints.txt $(VENV)/.made
	$(RUN) $(BIN)/python -m pip install --quiet -c constraints.txt -e '.[dev]'
	@touch $@ $(VENV)/.demo

$(VENV)/.made:
	@command -v $(PYTHON) >/dev/null 2>&1 || { \
	  echo 'squat: no $(PYTHON) here; install Python 3.11 or newer, or name one: make demo PYTHON=/path/to/python3.11' >&2; exit 2; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "squat: Python 3.11 or newer is needed, and $(PYTHON) is `$(PYTHON) -V 2>&1`; name another one:" \
	    'make demo PYTHON=/path/to/python3.11' >&2; exit 2; }
	@echo 'squat: making a virtual environment in $(VENV) and installing the pinned packages (once, a few minutes)'
	$(PYTHON) -m venv --clear $(VENV)
	@touch $@

.PHONY: help demo test lint types bench clean
