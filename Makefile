# Two commands: `make demo` installs and runs the main job on real data, `make test` installs and passes the tests.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
OUT ?= validation-out

.PHONY: demo test check install clean

# The stamp makes a second call cheap; pinned versions come from constraints.txt.
$(VENV)/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[dev]"
	touch $@

install: $(VENV)/installed

demo: install
	$(BIN)/tensorprog predict --hidden-layers 2 --parametrization sp --optimizer sgd --loss ce --lr-exponent=-1/2
	$(BIN)/tensorprog table --parametrization sp,mup --optimizer sgd,adam
	$(BIN)/tensorprog check docs/examples/gpt.py:build
	$(BIN)/tensorprog validate --suite quick --out $(OUT)

test: install
	# One thread per worker: two workers with two threads each fight over two cores.
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto

check: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

clean:
	rm -rf $(VENV) build dist *.egg-info
