# make run [ARGS=--once]   the whole set on this machine; ARGS=--help tells more
# make soak [ARGS=--calm]  ten thousand events with everything going wrong that can
# make test                everything that must pass
#
# Needed: Rust, Python 3, make. What else it takes is fetched below target/.

CARGO  ?= cargo
PYTHON ?= python3

.PHONY: run soak test format lint docs python

run:
	$(CARGO) build --quiet --locked --release --package sandbox
	target/release/sandbox $(ARGS)

soak:
	$(CARGO) build --quiet --locked --release --package sandbox
	target/release/sandbox soak $(ARGS)

test: format lint docs python
	$(CARGO) test --quiet --locked --workspace

format:
	$(CARGO) fmt --all --check

lint:
	$(CARGO) clippy --quiet --locked --workspace --all-targets -- --deny warnings

docs:
	RUSTDOCFLAGS="--deny warnings" $(CARGO) doc --quiet --locked --workspace --no-deps

# Every package is pinned, so that no resolver has to choose.
python: target/python/.installed
target/python/.installed: tests/python/moto.txt
	rm -rf target/python
	$(PYTHON) -m venv target/python
	target/python/bin/pip install --quiet --disable-pip-version-check --no-deps --requirement $<
	touch $@
