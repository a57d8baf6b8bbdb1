# s3rolefs. `make help` lists the targets. Works on a bare Debian 12 with nothing but make.
SHELL       := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help

PREFIX  ?= /usr/local
DESTDIR ?=
PORT    ?= 9899
MINUTES ?= 20
EFFORT  ?= 40

# Debian's own, whatever comes first in PATH: the packages below belong to it, everybody may run it, and it was
# built with profiles (everything here takes a quarter less time than with one that pyenv built).
PYTHON ?= /usr/bin/python3

VENV   := .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.complete
LOCKED := requirements-dev.lock
INSTALL := install --quiet --disable-pip-version-check --use-pep517
# No step may hang: each gets so many seconds, and some more to clean up.
LIMIT   = timeout --foreground -k 30

BUILD_PACKAGES := ca-certificates fuse3 gcc libc6-dev libfuse3-dev pkg-config python3 python3-dev python3-venv
CHECK_PACKAGES := mandoc
TEST_PACKAGES  := acl attr ceph-common ceph-mgr ceph-mon ceph-osd curl fio gcc git libc6-dev make mandoc perl procps radosgw rsync s3fs sqlite3 unzip zip

.PHONY: help
help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: demo
demo: env ## Show s3rolefs on this machine: a small S3 with a role, mounted; PORT=9899
	@$(BIN)/python -m demo --port $(PORT)

# It starts our programs some thousand times, and should compile them once, whatever the environment says.
.PHONY: test
test: env ## Run the whole test suite (installs the servers it needs)
	@$(LIMIT) 1800 tools/packages $(TEST_PACKAGES)
	PYTHONDONTWRITEBYTECODE= $(LIMIT) 3600 $(BIN)/python -m pytest -n 2 --dist worksteal

.PHONY: check
check: env ## Check style, types, the order of the rooms, and the manual pages
	@$(LIMIT) 900 tools/packages $(CHECK_PACKAGES)
	$(LIMIT) 120 $(BIN)/ruff check
	$(LIMIT) 120 $(BIN)/ruff format --check
	$(LIMIT) 300 $(BIN)/mypy
	$(LIMIT) 120 $(BIN)/lint-imports
	$(LIMIT) 60 mandoc -T lint -W warning man/*.[158]

# What only the benchmark needs (the pictures, the profiler, rclone) is no part of `env`.
BENCH_STAMP := $(VENV)/.bench
BENCH_PACKAGES := $(TEST_PACKAGES) bindfs
BENCH = $(BIN)/python -m bench $(if $(ONLY),--only $(ONLY)) $(if $(RUNS),--runs $(RUNS)) \
	$(if $(LATENCY),--latency $(LATENCY)) $(if $(TLS),--tls)

.PHONY: bench
bench: $(BENCH_STAMP) ## Measure speed beside others into doc/PERFORMANCE.md; ONLY=read RUNS=3 LATENCY=0,20 TLS=1
	@$(LIMIT) 1800 tools/packages $(BENCH_PACKAGES)
	$(LIMIT) 7200 $(BENCH) $(if $(ONLY)$(LATENCY),,--report doc/PERFORMANCE.md)

.PHONY: growth
growth: $(BENCH_STAMP) ## Measure how cost grows with keys, sizes and readers into doc/PERFORMANCE.md
	$(LIMIT) 3600 $(BIN)/python -m bench.growth --report doc/PERFORMANCE.md

.PHONY: profile
profile: $(BENCH_STAMP) ## Show where the time of a mount goes; ONLY=cat LATENCY=20
	@$(LIMIT) 1800 tools/packages $(BENCH_PACKAGES)
	$(LIMIT) 3600 $(BENCH) --profile build/profile

$(BENCH_STAMP): $(STAMP) requirements-bench.lock
	@$(LIMIT) 1200 $(BIN)/pip $(INSTALL) --require-hashes -r requirements-bench.lock
	@touch $@

.PHONY: soak
soak: env ## Use a mount while its sessions come and go, then make random calls; MINUTES=20 EFFORT=40
	@$(LIMIT) 1800 tools/packages $(TEST_PACKAGES)
	$(LIMIT) $$(($(MINUTES) * 60 + 600)) $(BIN)/python -m soak --minutes $(MINUTES)
	S3ROLEFS_EFFORT=$(EFFORT) $(LIMIT) 3600 $(BIN)/python -m pytest tests/mount/test_{differential,tools,verification}.py
	S3ROLEFS_EFFORT=$$((($(EFFORT) + 3) / 4)) $(LIMIT) 3600 $(BIN)/python -m pytest tests/fs/test_{histories,memory}.py

.PHONY: env
env: $(STAMP) ## Make .venv with the locked versions of everything

$(STAMP): $(LOCKED) pyproject.toml
	@$(LIMIT) 900 tools/packages $(BUILD_PACKAGES)
	@echo "Making $(VENV) from $(LOCKED)"
	@rm -rf $(VENV)
	@$(PYTHON) -m venv $(VENV)
	@$(LIMIT) 1200 $(BIN)/pip $(INSTALL) --require-hashes -r $(LOCKED)
	@PYTHONWARNINGS=ignore $(LIMIT) 300 $(BIN)/pip $(INSTALL) --no-deps --no-build-isolation -e .
	@touch $@

.PHONY: lock
lock: env ## Choose the newest versions of the dependencies and lock them
	$(LIMIT) 900 $(PIP_COMPILE) --output-file requirements.lock pyproject.toml
	$(LIMIT) 900 $(PIP_COMPILE) --extra dev -c requirements.lock --output-file $(LOCKED) pyproject.toml
	$(LIMIT) 900 $(PIP_COMPILE) --extra bench -c $(LOCKED) --output-file requirements-bench.lock pyproject.toml

PIP_COMPILE = CUSTOM_COMPILE_COMMAND='make lock' $(BIN)/pip-compile --quiet --upgrade --generate-hashes \
	--allow-unsafe --strip-extras --no-emit-index-url --no-emit-trusted-host --no-emit-find-links

.PHONY: man
man: env ## Write the table of options into the manual page
	$(BIN)/python -m s3rolefs.cli.manual man/mount.s3rolefs.8

# What is installed: a private environment that nothing else uses, and links to it where mount(8),
# umount(8) and people look.
HOME_DIR := $(PREFIX)/lib/s3rolefs
TARGET   := $(DESTDIR)$(HOME_DIR)
HELPERS  := mount.s3rolefs mount.fuse.s3rolefs umount.s3rolefs umount.fuse.s3rolefs

.PHONY: install
install: ## Install for everybody; PREFIX=/usr/local DESTDIR=
	@$(LIMIT) 900 tools/packages $(BUILD_PACKAGES)
	@rm -rf $(TARGET)
	@install -d $(TARGET) $(DESTDIR)$(PREFIX)/bin $(DESTDIR)/sbin \
		$(addprefix $(DESTDIR)$(PREFIX)/share/man/,man1 man5 man8)
	@$(PYTHON) -m venv $(TARGET)
	@$(LIMIT) 1200 $(TARGET)/bin/pip $(INSTALL) --require-hashes -r requirements.lock
	@$(LIMIT) 300 $(TARGET)/bin/pip $(INSTALL) --no-deps .
	@$(TARGET)/bin/pip uninstall --quiet --disable-pip-version-check --yes pip
	@sed -i '1s|.*|#!$(HOME_DIR)/bin/python3 -I|' $(TARGET)/bin/s3rolefs
	@ln -sfn $(HOME_DIR)/bin/s3rolefs $(DESTDIR)$(PREFIX)/bin/s3rolefs
	@for helper in $(HELPERS); do ln -sfn $(HOME_DIR)/bin/s3rolefs $(DESTDIR)/sbin/$$helper; done
	@install -m 644 man/s3rolefs.1 $(DESTDIR)$(PREFIX)/share/man/man1/
	@install -m 644 man/s3rolefs.toml.5 $(DESTDIR)$(PREFIX)/share/man/man5/
	@install -m 644 man/mount.s3rolefs.8 $(DESTDIR)$(PREFIX)/share/man/man8/
	@echo "Installed: $(PREFIX)/bin/s3rolefs, and mount -t s3rolefs"

.PHONY: uninstall
uninstall: ## Remove what install put there
	@rm -rf $(TARGET)
	@rm -f $(DESTDIR)$(PREFIX)/bin/s3rolefs $(addprefix $(DESTDIR)/sbin/,$(HELPERS)) \
		$(addprefix $(DESTDIR)$(PREFIX)/share/man/,man1/s3rolefs.1 man5/s3rolefs.toml.5 man8/mount.s3rolefs.8)
	@echo "Removed s3rolefs from $(DESTDIR)$(PREFIX)"

.PHONY: clean
clean: ## Remove what was built here
	@rm -rf $(VENV) build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
