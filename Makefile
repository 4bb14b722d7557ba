# Spikeloom's commands. `make demo` and `make test` do all the set-up themselves; `make setup` does only that.

PYTHON ?= python3
VENV := .venv/bin
# Two workers: what the smallest supported machine has, and what keeps the compilers in the tests from piling up.
TEST_WORKERS ?= 2
# Options for pytest, for example: make test PYTEST="-k reference"
PYTEST ?=

.PHONY: help setup ready demo test bench lint format clean

help:
	@echo "make demo    set up if needed, then digits end to end: Verilog, verification, area, timing, energy, report"
	@echo "make test    set up if needed, then all tests"
	@echo "make setup   only set up (SPIKELOOM_WITH=chromium also gets the browser that one test uses)"
	@echo "make bench   all benchmarks"
	@echo "make lint    ruff and pyright"
	@echo "make format  let ruff format and repair what it can"
	@echo "make clean   remove what the other commands wrote, except .venv"

setup:
	@$(PYTHON) scripts/setup.py

# What the commands below need: does nothing once the set-up was done.
ready:
	@$(PYTHON) scripts/setup.py --if-needed

demo: ready
	@$(VENV)/spikeloom demo

test: ready
	@$(VENV)/python -m pytest -n $(TEST_WORKERS) $(PYTEST)

bench: ready
	@$(VENV)/python scripts/run_benchmarks.py

lint: ready
	$(VENV)/ruff check .
	$(VENV)/ruff format --check .
	$(VENV)/pyright

format: ready
	$(VENV)/ruff check --fix .
	$(VENV)/ruff format .

clean:
	rm -rf build dist sim_build .pytest_cache .ruff_cache .hypothesis
	find rtl analog_models sim synth tests bench scripts -name __pycache__ -type d -prune -exec rm -rf {} +
