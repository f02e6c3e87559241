# make figures : every figure, quick preset     make test : the whole test suite
# make lint    : style, types, import direction  make bench : speed beside other packages
# make docs    : the documentation, into site/        make coverage : the share of rdsim that the tests run
# make newest  : a cut through the tests on the newest Python found here and the newest packages
PYTHON ?= python3
PRESET ?= quick
JOBS   ?= 2
TESTS  ?=
VENV   := .venv
RUN    := $(VENV)/bin/python
READY  := $(VENV)/.ready
# Two processes whose LAPACK or OpenMP (faiss) has two threads each spin against one another: a factorisation of a
# hundred rows then takes ten times as long, the k-means of faiss twenty times.
export OPENBLAS_NUM_THREADS ?= 1
export OMP_NUM_THREADS ?= 1
# Images of containers often forbid Python to keep compiled sources. Then every process that a test or study starts compiles
# them all again, which is a fifth of its start.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: figures test coverage newest lint bench docs readme clean

figures: $(READY)
	$(RUN) -m experiments figures --preset $(PRESET) --jobs $(JOBS)

test: $(READY)
	$(RUN) -m pytest -n 2 --dist loadfile $(TESTS)

# Lines of rdsim that the tests run, in all of their processes. The last command puts the figure into
# docs/coverage.json and README.md; TESTS=... runs a part of the suite, and then nothing is written.
coverage: $(READY)
	$(RUN) -m coverage erase
	$(RUN) -m coverage run -m pytest -n 2 --dist loadfile $(TESTS)
	$(RUN) -m coverage combine --quiet
	$(RUN) -m coverage json --quiet
	$(RUN) -m coverage report --skip-covered
	$(if $(TESTS),,$(RUN) docs/_coverage.py)

# A cut through every layer, small enough to run beside the whole suite on the pinned versions.
NEWEST := .venv-newest
NEWEST_PYTHON ?= $$(.ci/newest_python)
CUT    := tests/test_readme.py tests/test_certified.py tests/test_validation.py tests/limits/test_rate_distortion.py \
          tests/limits/test_rank.py tests/limits/test_bottleneck.py tests/ranking/test_rank_distribution.py \
          tests/ranking/test_metrics.py tests/ranking/test_saddlepoint.py tests/learning/test_training.py \
          tests/embeddings tests/experiments/test_programs.py tests/experiments/test_cli.py \
          tests/experiments/test_limit.py tests/experiments/test_gap.py tests/test_transformations.py \
          tests/limits/test_gradients.py "tests/experiments/test_studies.py::test_study[explorer]"

newest:
	rm -rf $(NEWEST)
	$(NEWEST_PYTHON) -m venv $(NEWEST)
	$(NEWEST)/bin/python -m pip install --quiet --disable-pip-version-check --editable ".[test,docs]"
	$(NEWEST)/bin/python -c "import platform, jax, numpy; print('Python', platform.python_version(), 'jax', jax.__version__, 'numpy', numpy.__version__)"
	$(NEWEST)/bin/python -m pytest -n 2 --dist loadfile $(CUT)

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
	cp figures/output/quantizers.png figures/readme/

clean:
	rm -rf $(VENV) $(NEWEST) results figures/output figures/index.html site
