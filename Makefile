# make demo    curate the documentation on this machine, in a virtual environment of its own
# make test    everything that must pass: style, types, docs, tests
# make check   style, types and docs alone
# make docs    build the documentation into site/
# make bench   run the benchmarks
# make peers   the libraries that the benchmarks compare with, in an environment of their own

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin

PEERS ?= $(VENV)/peers
BENCHMARKS := $(filter-out %/peers.py %/plain.py %/corpus.py,$(wildcard benchmarks/*.py))

.PHONY: help demo test check docs bench peers

help:
	@sed -n 's/^# //p' $(firstword $(MAKEFILE_LIST)) | head -n 6

demo: $(VENV)/.demo
	$(BIN)/tilth demo --overwrite $(if $(DATA),--data '$(DATA)') $(if $(OUT),--out '$(OUT)') $(if $(ROWS),--rows $(ROWS))

test: check
	$(BIN)/python -m pytest -n 2 --cov --cov-report=term

check: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/mkdocs build --strict --quiet

docs: $(VENV)/.dev
	$(BIN)/mkdocs build --strict

bench: $(VENV)/.dev
	$(BIN)/pip install --quiet --editable '.[benchmarks]'
	for script in $(BENCHMARKS); do echo "== $$script"; $(BIN)/python $$script $(ARGS) || exit 1; done

# text-dedup asks for versions that exclude those of datatrove, and runs without them; what we use of TRL needs no torch.
peers:
	$(PYTHON) -m venv $(PEERS)
	$(PEERS)/bin/pip install --quiet datatrove datasets pyarrow fasteners nltk numba orjson resiliparse spacy tldextract \
		bitarray click-option-group fire ftfy pandas psutil regex scipy transformers unicodedata2 'xxhash<4' zstandard \
		'rensa==0.5.*' datasketch semhash
	$(PEERS)/bin/pip install --quiet --no-deps text-dedup==0.4.0 trl
	@echo "now: $(BIN)/python benchmarks/throughput.py --peers $(PEERS)/bin/python"

# A stamp is written when everything before it went well, so an environment that was left half made is made again.
$(VENV)/.python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
		echo "tilth needs Python 3.11 or later; '$(PYTHON)' is $$($(PYTHON) --version 2>&1 | head -n 1)." \
			"Name another one, for example: make PYTHON=python3.12" >&2; exit 1; }
	@if $(BIN)/python -m pip --version >/dev/null 2>&1; then :; else $(PYTHON) -m venv --clear $(VENV); fi
	@touch $@

$(VENV)/.demo: pyproject.toml | $(VENV)/.python
	$(BIN)/pip install --quiet --editable '.[clean]'
	touch $@

$(VENV)/.dev: pyproject.toml | $(VENV)/.python
	$(BIN)/pip install --quiet --editable '.[dev]'
	$(BIN)/pip install --quiet --no-deps text-dedup==0.4.0
	touch $@ $(VENV)/.demo
