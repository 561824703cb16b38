# `make demo` and `make test` install what they lack (Debian packages, by apt) and then do their job.
# The Rust toolchain is expected to be there.

CARGO ?= cargo
INSTALL := .ci/install
# Where cargo puts what it builds.
TARGET := $${CARGO_TARGET_DIR:-target}

.PHONY: help demo test soak bench bench-pure drivers mtr fuzz build profiled cluster-test study packages packages-test

help:
	@echo "make demo   two private MariaDB servers with Tandem in front; Ctrl-C removes everything"
	@echo "make test   format, lints, all tests on MariaDB and on MySQL, and the demo's story played once, the cluster"
	@echo "make soak   the long runs: all tests on MariaDB 11.8, random statements, 500 clients for a minute, a dump of 200 MB"
	@echo "make mtr    MariaDB's own test suite through Tandem, on one server and on a pair (hours); MTR=\"--every 50\" for a taste"
	@echo "make fuzz   libFuzzer on every parser, SECONDS_EACH (600) seconds each; findings in fuzz/work"
	@echo "make bench  what a statement costs, beside HAProxy, nginx and MySQL Router (15 minutes; ONLY=text,connect ROUNDS=5)"
	@echo "make bench-pure  what it costs in nanoseconds, where that can be measured without servers"
	@echo "make drivers  the drivers' own test suites, directly and through Tandem, compared"
	@echo "make cluster-test  the cluster of docker/: each container killed once under visitors (five minutes; CLUSTER=--mysql, --hang)"
	@echo "make study  four set-ups of the same site measured, in calm, under load and under harm: docs/study.html (40 minutes)"
	@echo "make build  the optimised program, target/release/tandem"
	@echo "make profiled  a faster one, built by what it did under a load: target/profiled/tandem (twice as long)"
	@echo "make packages       a .deb and an .rpm of it, in target/packages (PROFILED=1: of the faster one)"
	@echo "make packages-test  installs, starts, upgrades and removes both in clean containers (as root)"

demo:
	@$(INSTALL) build server client
	$(CARGO) run --quiet --package tandem -- demo

test:
	@$(INSTALL) build server client network browser etcd php python wordpress mediawiki phpmyadmin mycli backup
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets -- -D warnings
	.ci/server-root mysql-9.7
	$(CARGO) test --workspace --doc
	tests/run.py --server mariadb --server mysql-9.7
	$(CARGO) run --quiet --bin tandem -- demo --once
	$(MAKE) cluster-test

soak:
	@$(INSTALL) build server client network browser etcd php python wordpress mediawiki phpmyadmin mycli backup
	.ci/server-root mariadb-11.8
	.ci/server-root mysql-9.7
	tests/run.py --server mariadb-11.8
	TANDEM_DIFFERENTIAL_SEEDS=150 $(CARGO) test --workspace --test differential
	TANDEM_FAULT_ROUNDS=20 $(CARGO) test --workspace --test failover -- --nocapture --test-threads=1
	TANDEM_FAULT_ROUNDS=20 TANDEM_SERVER=mysql-9.7 $(CARGO) test --workspace --test failover -- --nocapture --test-threads=1
	TANDEM_FAULT_ROUNDS=20 $(CARGO) test --workspace --test packets --test restarts -- --nocapture --test-threads=1
	TANDEM_FAULT_ROUNDS=20 TANDEM_SERVER=mysql-9.7 $(CARGO) test --workspace --test packets --test restarts -- --nocapture --test-threads=1
	TANDEM_CONSISTENCY_SECONDS=30 $(CARGO) test --workspace --test consistency -- --nocapture
	TANDEM_CROWD_SECONDS=60 $(CARGO) test --workspace --test crowd -- --nocapture
	TANDEM_MUTATIONS=1000000 TANDEM_NOISE_MB=24 $(CARGO) test --release --workspace --test mutated -- --nocapture
	SECONDS_EACH=60 .ci/fuzz
	TANDEM_DUMP_MB=200 $(CARGO) test --workspace --test clients -- --nocapture dump

mtr:
	@$(INSTALL) build server client mtr
	$(CARGO) build --workspace --bin tandem
	tests/mtr/run.py $(MTR)

# With the program as the tests have it, which need not be compiled again.
cluster-test:
	@$(INSTALL) build docker
	$(CARGO) build --workspace --bin tandem
	strip -o docker/tandem/program/tandem $(TARGET)/debug/tandem
	tests/cluster/kill_each.py $(CLUSTER)

study:
	@$(INSTALL) docker load
	@$(MAKE) build
	strip -o docker/tandem/program/tandem $(TARGET)/release/tandem
	tests/cluster/study.py --program "optimised (make build)" $(STUDY)

fuzz:
	@$(INSTALL) build
	SECONDS_EACH=$${SECONDS_EACH:-600} .ci/fuzz

bench:
	@$(INSTALL) build server client peers load apache php wordpress
	.ci/server-root mysql-9.7
	.ci/server-root mysql-router
	$(CARGO) build --release --workspace --bins
	tests/bench/run.py

bench-pure:
	@$(INSTALL) build
	$(CARGO) bench --manifest-path bench/Cargo.toml --target-dir target/bench

drivers:
	@$(INSTALL) build server client php python drivers
	$(CARGO) build --workspace --bins
	.ci/server-root mysql-9.7
	tests/drivers/run

build:
	@$(INSTALL) build
	$(CARGO) build --release --workspace --bin tandem

profiled:
	@$(INSTALL) build server client
	packaging/profiled

PACKED := $(if $(PROFILED),profiled,build)
packages: $(PACKED)
	@$(INSTALL) packages
	packaging/build $(TARGET)/$(PACKED:build=release)/tandem $(TARGET)/packages

packages-test: packages
	@$(INSTALL) build server client docker
	$(CARGO) build --workspace --bin pair
	packaging/test $(TARGET)/packages
