# One command for each thing that a contributor does; `make check` is what continuous integration runs.
PYTHON ?= python

.PHONY: check lint test slow demo

check: lint test

lint:  ## style, formatting, and who may import whom
	ruff check .
	ruff format --check .
	lint-imports

test:
	$(PYTHON) -m pytest -n 2 --dist loadfile

slow:  ## the tests that take minutes
	$(PYTHON) -m pytest -m slow

demo:
	$(PYTHON) train_main.py
