# One command for each thing that a contributor does; `make check` is what continuous integration runs.
PYTHON ?= python

.PHONY: check lint types docs test fuzz coverage slow demo

check: lint types docs test fuzz

lint:  ## style, docstrings, formatting, and who may import whom
	ruff check .
	ruff format --check .
	lint-imports

types:
	pyright --project .

docs:  ## the documentation with its API reference, into site/
	mkdocs build --strict

test:
	$(PYTHON) -m pytest -n 2 --dist loadfile

fuzz:  ## a minute of mutated files; `python tests/fuzz.py --help`
	$(PYTHON) tests/fuzz.py --seconds=60

coverage:  ## the tests with the share of lines that they run; takes a third longer
	$(PYTHON) -m pytest -n 2 --dist loadfile --cov

slow:  ## the tests that take minutes
	$(PYTHON) -m pytest -m slow

demo:
	$(PYTHON) train_main.py
