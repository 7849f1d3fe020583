PYTHON ?= python3
BIN := .venv/bin

.PHONY: demo studio test install lint format serve clean

demo: install  ## explained recommendations for three users
	$(BIN)/whyrank demo

studio: install  ## the studio in a browser, on the demo's data and LLM
	$(BIN)/whyrank demo --studio

test: lint  ## lint, types and the whole suite, a real vLLM and a browser included
	@$(PYTHON) scripts/install_chromium.py
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
