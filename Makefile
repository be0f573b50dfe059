# What a developer types. The commands are the README's, where CI takes them from too.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: setup check test test-quick

setup:
	$(PYTHON) -m venv .venv
	$(BIN)/pip install -q -U "pip>=25.1"
	$(BIN)/pip install -q -c constraints.txt -e ".[cpu,train,export]" --group dev

check:
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

test:
	$(BIN)/python -m pytest -q -n 2 --dist loadfile

# Under a minute: the run time's plain parts, words and records; no export, no training, no engine.
test-quick:
	$(BIN)/python -m pytest -q -n 2 --dist loadfile tests/test_layout.py tests/ifseg_rt/artifact \
	  tests/ifseg_rt/sources tests/ifseg_rt/sinks tests/ifseg_rt/upsampling tests/ifseg_rt/host \
	  tests/ifseg_rt/test_segmenter.py tests/train/words tests/benchmarks/datasets
