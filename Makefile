# Two commands matter: `make run` answers a question with the built-in model, `make test` runs every check.
# Both make .venv first. pip compiles llama.cpp for this machine the first time, on every core, and keeps the wheel.

PYTHON ?= python3
QUESTION ?= How many r's are in strawberry?
VENV := .venv
BIN := $(VENV)/bin

# Compile only what r1 loads; the file says what is left out, and why.
export SKBUILD_CMAKE_DEFINE := CMAKE_PROJECT_llama_cpp_INCLUDE=$(CURDIR)/scripts/wheel/llama_cpp.cmake

.PHONY: run test lint types pytest format clean

run: $(VENV)/.installed
	$(BIN)/r1 run -m tiny --no-stdin --thinking show "$(QUESTION)"

test: lint types pytest

lint: $(VENV)/.test-tools
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/.test-tools
	$(BIN)/mypy

pytest: $(VENV)/.test-tools
	$(BIN)/pytest -n auto --dist worksteal

format: $(VENV)/.test-tools
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf $(VENV)

$(VENV)/.installed: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --upgrade "pip>=25.1"
	@echo "Installing. The first time, llama.cpp is compiled: one to three minutes on two cores, less on more."
	$(BIN)/pip install --quiet --editable ".[math]"
	touch $@

$(VENV)/.test-tools: $(VENV)/.installed
	$(BIN)/pip install --quiet --group test
	touch $@
