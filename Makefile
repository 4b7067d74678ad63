# Two commands matter: `make run` answers a question with the built-in model, `make test` runs every check.
# Both make .venv first; pip compiles llama.cpp the first time, some seven minutes on two cores.

PYTHON ?= python3
QUESTION ?= How many r's are in strawberry?
VENV := .venv
BIN := $(VENV)/bin

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
	$(BIN)/pytest -n auto --dist loadfile

format: $(VENV)/.test-tools
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf $(VENV)

$(VENV)/.installed: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --upgrade "pip>=25.1"
	@echo "Installing; llama.cpp is compiled for this machine the first time (minutes)."
	$(BIN)/pip install --quiet --editable .
	touch $@

$(VENV)/.test-tools: $(VENV)/.installed
	$(BIN)/pip install --quiet --group test
	touch $@
