PYTHON ?= python3
BIN := .venv/bin

.PHONY: demo test install lint format serve clean

demo: install  ## explained recommendations for three users
	$(BIN)/whyrank demo

test: lint  ## lint, types and the whole suite, a real vLLM included
	$(BIN)/pytest

install:  ## .venv with everything in it; quick when nothing changed
	@$(PYTHON) scripts/install.py

lint: install
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache

format: install
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

serve: install  ## the HTTP service on port 8000
	$(BIN)/whyrank serve

clean:
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis artifacts
