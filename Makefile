# The targets that people and CI use; `make` lists them. Each installs what it lacks when run as root (see
# scripts/install-deps) and says what to install otherwise.

SHELL := /bin/bash
# rustup puts cargo where not every PATH looks, and Debian puts nginx there.
CARGO_HOME ?= $(HOME)/.cargo
export PATH := $(PATH):$(CARGO_HOME)/bin:/usr/sbin:/sbin

.DEFAULT_GOAL := help
.PHONY: help build packages demo test interop bench fuzz lint fmt audit generate clean

help: ## list the targets
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/\1|\2/p' $(MAKEFILE_LIST) | while IFS='|' read -r name what; do \
	    printf 'make %-10s %s\n' "$$name" "$$what"; done

build: ## build the programs, optimised, below target/release
	scripts/install-deps build
	cargo build --release --workspace --bins --locked

# A build of its own, which takes some ten minutes: the programs are to run with an older glibc than this machine's.
packages: ## RPMs and .debs for every distribution with glibc 2.28 or later, below target/packages
	scripts/install-deps build lint packages
	scripts/pack "$$(scripts/build-portable)" target/packages
	scripts/check-portable target/packages
	scripts/lint-packages target/packages

demo: ## a repository, the service, and hosts that install from it with dnf, on this machine
	scripts/install-deps build test
	scripts/demo

# The tests start the programs, so these are built first: cargo builds another crate's programs only when asked to.
test: ## run all tests
	scripts/install-deps build test
	scripts/dnf5-chroot
	scripts/fleet-tools
	cargo build --workspace --bins --locked
	cargo test --workspace --locked

# The other foreign clients are in `make test`; building this one takes longer than all of those.
interop: ## hosts beside librqbit, which is built for it
	scripts/install-deps build test
	cargo build --workspace --bins --locked
	cargo build --release --locked --manifest-path tests/rqbit/Cargo.toml --target-dir target
	cp target/release/pkgtorrent-rqbit target/debug/
	cargo test -p pkgtorrent-interop-tests --locked --features rqbit --test rqbit_in_the_swarm

bench: ## measure against the figures that the project holds itself to
	scripts/install-deps build test bench
	cargo run --release -p pkgtorrent-bench --locked

fuzz: ## look for inputs that break a parser, 20 seconds each; SECONDS=600 for longer
	scripts/install-deps build fuzz
	scripts/fuzz $(SECONDS)

# cargo deny's fourth check, advisories, needs a database from the network and changes without a commit here: it is
# `make audit`, so that a commit which passed once passes always.
lint: ## formatting, clippy, layers, dependencies, generated files, packages
	scripts/install-deps build lint
	cargo fmt --all --check
	cargo clippy --workspace --all-targets --locked -- -D warnings
	scripts/check-layers --self-test
	scripts/check-layers
	cargo deny --locked check --hide-inclusion-graph bans licenses sources
	scripts/check-generated
	scripts/lint-packages

fmt: ## format the sources
	cargo fmt --all

audit: ## ask the advisory database about the dependencies (needs the network)
	scripts/install-deps build lint
	cargo deny --locked check advisories

generate: ## write the man pages and default configuration anew from the sources
	scripts/install-deps build
	scripts/generate

clean: ## remove everything that was built
	cargo clean
