# make quickstart   the main job: a sweep on real data, to a table        make test        all tests
# make check        ruff, mypy, import contracts, codespell               make test-fast   the tests for the work in between
# make test-isa     the tests that train, under every instruction set of this machine
# make test-cluster a cluster brought up with `ray up`, on hosts made of namespaces (needs root)
# make test-lowest  the fast tests with the lowest versions that setup.cfg allows
# make test-pythons the fast tests with Python 3.11, 3.12 and 3.13, or PYTHONS="3.11 3.13"; uv finds or downloads them
# make test-install the wheel in an empty environment: a method from Python, a sweep from the command line
# make constraints  updates constraints.txt after a change of setup.cfg; UPGRADE=--upgrade takes the newest versions
# make torch-cpu    PyTorch's CPU wheels into .venv, before anything else: 0.2 GB instead of 3 GB
# make docs         docs/methods.md, metrics.md and sweep-file.md from the code, and the site in build/docs
# make wheel        the package in dist/, for the nodes of a cluster: cluster/README.md
# make test-gpu     the tests that need a CUDA card
# Each makes .venv itself and installs what it needs.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
PYTHON ?= $(shell for p in python3.13 python3.12 python3.11 python3; do \
	command -v $$p > /dev/null && $$p -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' 2> /dev/null && echo $$p && break; done)
VENV ?= .venv
BIN := $(VENV)/bin
STORE ?= $(or $(ADAPROB_STORE),./store)
PYTEST := $(BIN)/python -m pytest --numprocesses logical --maxprocesses 4 --dist loadgroup --no-loadscope-reorder
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check

.PHONY: quickstart test test-fast test-isa test-cluster test-gpu test-lowest check docs bench wheel clean
quickstart: $(VENV)/installed
	$(BIN)/adaprob-ray run sweeps/quickstart.yaml --store $(STORE)
	$(BIN)/adaprob-ray compare sweeps/quickstart.yaml --store $(STORE) --out out
	$(BIN)/adaprob-ray report sweeps/quickstart.yaml --store $(STORE) --out out > /dev/null
	$(BIN)/adaprob-ray figure trade_off sweeps/quickstart.yaml --store $(STORE) --out out > /dev/null
	@echo "report:      out/report.html"
	@echo "picture:     out/trade_off.png"
	@echo "records:     $(STORE)"
	@echo "tensorboard: $(STORE)/tensorboard/quickstart  ($(BIN)/tensorboard --logdir $(STORE)/tensorboard/quickstart --host localhost --reload_multifile=true)"

# The paper's artefacts. What is done is not run again: after an interruption or a failure give the same command.
# small_all makes what the next three files start from; Figure 4 comes first because its networks must be alone when made.
PAPER_SMALL := small_all table5 ablation_lambda ablation_eta figure2 scrub_traces
PAPER_LARGE := figure4_class figure4_selective notebook_membership table2 table1_large table3_large notebook_cifar100
.PHONY: paper-small paper-large
paper-small: $(VENV)/installed
	$(BIN)/python -m analysis costs --store $(STORE) --out out --sweep $(PAPER_SMALL:%=sweeps/%.yaml)
	@failed=0; for sweep in $(PAPER_SMALL); do (set -x; $(BIN)/adaprob-ray run sweeps/$$sweep.yaml --store $(STORE)) || failed=1; done; \
	for name in table5 ablation_{lambda,eta} trajectories traces figure2 figure3 trade_off ranks {table1,table3}" --partial" report; do \
		(set -x; $(BIN)/python -m analysis $$name --store $(STORE) --out out) || failed=1; done; exit $$failed

paper-large: $(VENV)/installed
	$(BIN)/python -m analysis costs --store $(STORE) --out out --sweep $(PAPER_LARGE:%=sweeps/%.yaml)
	@failed=0; for sweep in $(PAPER_LARGE); do (set -x; $(BIN)/adaprob-ray run sweeps/$$sweep.yaml --store $(STORE)) || failed=1; done; \
	for name in table{2,4,6,7} cifar100 figure4 claims {table1,table3}" --partial" report; do \
		(set -x; $(BIN)/python -m analysis $$name --store $(STORE) --out out) || failed=1; done; exit $$failed

test: $(VENV)/installed-dev
	$(PYTEST) -m "not cluster"

test-fast: $(VENV)/installed-dev
	$(PYTEST) -m "not slow and not ray and not data"

# What trains, or computes with what was trained. CI runs the planted defects and the golden cells only.
ISA_TESTS ?= tests/mutations tests/golden tests/methods tests/metrics tests/models tests/runtime tests/test_training.py
test-isa: $(VENV)/installed-dev
	$(BIN)/python tests/isa/instruction_sets.py $(PYTEST) -m "not ray" $(ISA_TESTS)

# One process, because its tests share the machine with a cluster.
test-cluster: $(VENV)/installed-dev
	$(BIN)/python -m pytest -m cluster tests/cluster

# In one process, because the tests share the card.
test-gpu: $(VENV)/installed-dev
	$(BIN)/python -m pytest -m gpu tests/gpu

# pyenv's shims start only the versions that PYENV_VERSION names.
UV ?= $(BIN)/uv
PYENV := PYENV_VERSION="$$(pyenv versions --bare 2> /dev/null | paste -sd: -)"
PYTEST_FAST = python -m pytest --numprocesses logical --maxprocesses 4 --dist loadgroup --no-loadscope-reorder \
	-m "not slow and not ray and not data and not cluster"

# With Python 3.11: later ones have no wheels of the lowest versions. uv finds that Python or downloads it.
LOWEST := .venv-lowest
test-lowest: $(UV)
	$(PYENV) $(UV) venv --quiet --clear --python 3.11 $(LOWEST)
	$(UV) pip install --quiet --python $(LOWEST)/bin/python --resolution lowest-direct --editable ".[dev]"
	$(LOWEST)/bin/$(PYTEST_FAST)

PYTHONS ?= 3.11 3.12 3.13
TEST_PYTHONS := $(PYTHONS:%=test-python-%)
.PHONY: test-pythons $(TEST_PYTHONS)
test-pythons: $(TEST_PYTHONS)

$(TEST_PYTHONS): test-python-%: $(UV)
	$(PYENV) $(UV) venv --quiet --clear --python $* .venv-$*
	$(UV) pip install --quiet --python .venv-$* --constraint constraints.txt --editable ".[dev]"
	.venv-$*/bin/$(PYTEST_FAST)

$(BIN)/uv: $(BIN)/python constraints.txt
	$(PIP) --constraint constraints.txt uv
	@touch $@

# Exact versions of everything, for every Python and platform. Versions that are in the file and still allowed stay.
.PHONY: constraints
constraints: $(UV)
	$(UV) pip compile --quiet --universal --python-version 3.11 --extra dev --extra docs --extra timm --no-header --no-annotate $(UPGRADE) \
		--output-file constraints.txt pyproject.toml > /dev/null

check: $(VENV)/installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/codespell

# build/ may hold modules that are no longer in the package, and dist/ is copied to each node as it is.
wheel: $(BIN)/python
	rm -rf build dist
	$(BIN)/python -m pip wheel --quiet --disable-pip-version-check --no-deps --wheel-dir dist .
	@ls dist/*.whl

# PyTorch is linked from .venv, which saves 5 GB; OPTIONS=--empty installs it too.
.PHONY: test-install
test-install: wheel $(VENV)/installed
	$(BIN)/python tests/install/check_wheel.py dist/*.whl $(OPTIONS)

# The pages that are written from the code, then the site, without a warning.
docs: $(VENV)/installed-docs
	$(BIN)/python -m docs.generate
	$(BIN)/python -m sphinx --builder html --conf-dir docs --fresh-env --write-all --fail-on-warning --keep-going --nitpicky --quiet . build/docs
	@echo "site: build/docs/index.html"

bench: $(VENV)/installed-dev
	$(BIN)/python -m benchmarks.plan
	$(BIN)/python -m benchmarks.orchestration
	$(BIN)/python -m benchmarks.overhead
	$(BIN)/python -m benchmarks.idle_share
	$(BIN)/python -m benchmarks.training
	$(BIN)/python -m benchmarks.allocator
	$(BIN)/python -m benchmarks.projection
	$(BIN)/python -m benchmarks.fisher
	$(BIN)/python -m benchmarks.ntk
	$(BIN)/python -m benchmarks.coverage
	$(BIN)/python -m benchmarks.comparison
	$(BIN)/python -m benchmarks.instruction_sets
	$(BIN)/python -m benchmarks.report

# Fifteen faults, each injected three times into a running sweep: docs/faults.md. Once each, as tests: test-faults, which
# `make test` leaves out because it takes minutes.
.PHONY: faults test-faults
faults: $(VENV)/installed-dev
	$(BIN)/python -m benchmarks.faults

FAULT_MARKS ?= cluster
test-faults: $(VENV)/installed-dev
	$(BIN)/python -m pytest -m "$(FAULT_MARKS)" tests/faults

$(VENV)/bin/python:
	@test -n "$(PYTHON)" || { echo "Python 3.11, 3.12 or 3.13 is needed; name it with PYTHON=…"; exit 1; }
	$(PYTHON) -m venv $(VENV)

.PHONY: torch-cpu
TORCH_CPU_INDEX ?= https://download.pytorch.org/whl/cpu
torch-cpu: $(BIN)/python
	$(PIP) --index-url $(TORCH_CPU_INDEX) $$(grep -E '^torch(vision)?==' constraints.txt)

# What pip installs with: constraints.txt, except that a torch that is in $(VENV) already stays.
.PHONY: $(VENV)/constraints.txt
$(VENV)/constraints.txt: $(BIN)/python
	@$(BIN)/python -c 'import importlib.metadata as m; \
		[print(f"{d.name}=={d.version}") for d in m.distributions() if d.name in ("torch", "torchvision")]' > $@
	@if [ -s $@ ]; then sort $@ | diff - <(grep -E '^torch(vision)?==' constraints.txt | sort) > /dev/null || \
			echo "keeping" $$(sort $@) "in $(VENV)"; \
		grep -vE '^(torch|torchvision|triton|cuda-.*|nvidia-.*)==' constraints.txt >> $@; \
	else cp constraints.txt $@; fi

$(VENV)/installed: $(BIN)/python setup.cfg pyproject.toml constraints.txt
	@$(MAKE) --no-print-directory $(VENV)/constraints.txt
	@echo "installing into $(VENV) (a few minutes, about 6 GB if PyTorch brings CUDA along)"
	$(PIP) --constraint $(VENV)/constraints.txt --editable .
	@touch $@

$(VENV)/installed-dev: $(VENV)/installed
	@$(MAKE) --no-print-directory $(VENV)/constraints.txt
	$(PIP) --constraint $(VENV)/constraints.txt --editable ".[dev]"
	@touch $@

$(VENV)/installed-docs: $(VENV)/installed
	@$(MAKE) --no-print-directory $(VENV)/constraints.txt
	$(PIP) --constraint $(VENV)/constraints.txt --editable ".[docs]"
	@touch $@

clean:
	rm -rf $(VENV) $(LOWEST) $(PYTHONS:%=.venv-%) build dist *.egg-info out
