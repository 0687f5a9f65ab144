# Everything a newcomer or a developer types. Needs Python 3.11 or newer; PYTHON=python3.12 chooses another one.
PYTHON ?= python3
BIN := .venv/bin
# Two workers on few cores: one thread each is faster than fighting over them. No test needs the network.
OFFLINE := HF_HUB_OFFLINE=1 TRANSFORMERS_OFFLINE=1 OMP_NUM_THREADS=1
WORKERS ?= 2

.PHONY: help demo study-demo test lint bench docs site clean

help:
	@echo "make demo   train the bundled emoji model towards a preference, and measure what it did (minutes)"
	@echo "make study-demo  simulated raters vote in a browser study; a reward and a better model come of it (minutes)"
	@echo "make test   lint, types and tests, offline"
	@echo "make lint   lint and types only"
	@echo "make bench  speed and memory"
	@echo "make docs   write the generated pages of docs/ again"
	@echo "make site   build the documentation site into site/ (open site/index.html), offline and strictly"
	@echo "make clean  remove .venv and caches"

demo: .venv/.installed
	$(BIN)/kedge demo

study-demo: .venv/.installed
	$(BIN)/kedge study demo

test: lint
	$(OFFLINE) $(BIN)/python -m pytest -q -n $(WORKERS)

lint: .venv/.installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: .venv/.installed
	$(OFFLINE) $(BIN)/python -m bench

docs: .venv/.installed
	$(BIN)/python -m docs.generate

site: .venv/.installed
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet --strict

clean:
	rm -rf site .venv .pytest_cache .ruff_cache .mypy_cache src/*.egg-info

# The stamp says that this .venv holds what pyproject.toml and constraints.txt ask for.
.venv/.installed: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "Kedge needs Python 3.11 or newer; say which: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@$(BIN)/python -m pip uninstall --quiet --yes kedge 2>/dev/null  # the distribution's name before 0.2
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	touch $@
