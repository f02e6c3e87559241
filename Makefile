# make figures : every figure, quick preset     make test : the whole test suite
# make lint    : style, types, import direction  make bench : speed beside other packages
# make docs    : the documentation, into site/
PYTHON ?= python3
PRESET ?= quick
JOBS   ?= 2
VENV   := .venv
RUN    := $(VENV)/bin/python
READY  := $(VENV)/.ready
# Two processes whose LAPACK has two threads each spin against one another: a factorisation of a
# hundred rows then takes ten times as long.
export OPENBLAS_NUM_THREADS ?= 1

.PHONY: figures test lint bench docs readme clean

figures: $(READY)
	$(RUN) -m experiments figures --preset $(PRESET) --jobs $(JOBS)

test: $(READY)
	$(RUN) -m pytest -n 2 --dist loadfile

lint: $(READY)
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy
	$(VENV)/bin/lint-imports

docs: $(READY)
	NO_MKDOCS_2_WARNING=1 $(RUN) -m mkdocs build --strict --quiet

bench: $(READY)
	$(RUN) -m pip install --quiet --disable-pip-version-check -r benchmarks/requirements.txt
	$(RUN) -m benchmarks

# The environment is made once, from exact versions; it is made anew only when those change.
$(READY): requirements.txt pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(RUN) -m pip install --quiet --disable-pip-version-check -r requirements.txt
	$(RUN) -m pip install --quiet --disable-pip-version-check --no-deps --editable .
	touch $@

# The picture on the first screen of the README is a copy of one figure.
readme: figures
	mkdir -p figures/readme
	cp figures/output/phase_transition.png figures/readme/

clean:
	rm -rf $(VENV) results figures/output figures/index.html site
