## AtlasLoop
##
##   make demo    install into .venv and run the main job on phantoms
##                CT=FILE        annotate this CT (.nii, .nii.gz) too
##   make test    install the tools and run every check and test
##                PYTEST_ARGS=.. passed on, for example PYTEST_ARGS="tests/model -x" or PYTEST_ARGS="-n 8"
##   make check   the fast part of it: files, lint, types, import contracts
##   make clean   remove caches and build products;  make distclean: .venv too
##
## Options of the install
##   PYTHON=..       the Python to make .venv with (3.11 or 3.12); else the first that works
##   TORCH_INDEX=URL one more package index, for PyTorch without CUDA (4 GB less) or for another CUDA:
##                   take the URL from the selector on https://pytorch.org/get-started
##   MIN_FREE_GB=12  the free disk that the install asks for; with PyTorch without CUDA 4 will do

# Runs with GNU make 3.81, the one that macOS has. Paths are relative: the folder's own may hold spaces.
SHELL = /bin/sh
MIN_FREE_GB ?= 12
PYTEST_ARGS ?=
# Recipes read these from the environment, where any path is safe from the shell.
export CT PYTHON TORCH_INDEX MIN_FREE_GB

VENV_PYTHON = .venv/bin/python

# Two targets at once would both install, and mix what they print.
.NOTPARALLEL:
.PHONY: help demo test check files lint types imports install install-dev clean distclean

help:
	@sed -n 's/^## \{0,1\}//p' Makefile

demo: install
	.venv/bin/atlasloop demo $${CT:+--ct "$$CT"}

# Two processes, each with one thread: threads of small arrays only wait for one another. A file stays in one process,
# so that what its tests share is made once.
test: check
	OMP_NUM_THREADS=1 $(VENV_PYTHON) -m pytest -n 2 --dist loadfile $(PYTEST_ARGS)

check: files lint types imports

files: install-dev
	$(VENV_PYTHON) .ci/check_files.py

lint: install-dev
	$(VENV_PYTHON) -m ruff check .
	$(VENV_PYTHON) -m ruff format --check .

types: install-dev
	$(VENV_PYTHON) -m pyright --project pyproject.toml --pythonpath $(VENV_PYTHON)

# By module, not by its script: that one names the folder that .venv was made in.
imports: install-dev
	$(VENV_PYTHON) -c "from importlinter.cli import lint_imports_command as run; run()"

install:
	@sh .ci/install.sh base

install-dev:
	@sh .ci/install.sh dev

clean:
	rm -rf build dist *.egg-info .pytest_cache .ruff_cache .import_linter_cache .hypothesis
	find . -name .venv -prune -o -name .git -prune -o -name __pycache__ -type d -prune -exec rm -rf {} +

distclean: clean
	rm -rf .venv
