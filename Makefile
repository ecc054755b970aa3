# make run [ARGS=--once]   the whole set on this machine; ARGS=--help tells more
# make soak [ARGS=--calm]  ten thousand events with everything going wrong that can
# make bench [ARGS=cold]   what it costs: time, instructions, memory, money; ARGS=--help tells more
# make test                everything that must pass
# make build               the deployable zips, below target/lambda/
# make deploy              builds and deploys, and asks for what it has to know
#
# ARCH=x86_64 builds and deploys for that architecture instead of arm64.
# Needed: Rust, Python 3, make. What else it takes is fetched below target/.

CARGO  ?= cargo
PYTHON ?= python3
ARCH   ?= arm64

FUNCTIONS := $(notdir $(wildcard functions/*))
# SAM finds cargo-lambda, and cargo-lambda finds zig, on the path.
TOOLS := PATH="$(CURDIR)/target/python/cargo-lambda/bin:$(CURDIR)/target/python/sam/bin:$$PATH" SAM_CLI_TELEMETRY=0

.PHONY: run soak sandbox bench test end-to-end format lint docs release python build deploy

# The profile `dev`, as the tests have it: without link-time optimization the first build takes a few minutes less, and
# cargo shows its progress.
run: sandbox
	target/debug/sandbox $(ARGS)

soak: sandbox
	target/debug/sandbox soak $(ARGS)

sandbox:
	$(CARGO) build --locked --package sandbox $(addprefix --package ,$(FUNCTIONS))

bench: target/python/sam/.installed release
	$(CARGO) build --quiet --locked --release --package bench
	target/release/bench $(ARGS)

# The parts one after another, each with its time. The dependencies are compiled twice: to check them (lint, docs) and to
# run them (end-to-end). The sizes of the release zips are checked by `make bench`, since they need the slow release build.
TEST_PARTS := format python lint docs end-to-end
test:
	@times=; for part in $(TEST_PARTS); do \
		start=$$(date +%s); \
		$(MAKE) --no-print-directory $$part || { echo "make test: $$part failed" >&2; exit 1; }; \
		times="$$times$$(printf '%-12s %5d s' $$part $$(($$(date +%s) - start)))\n"; \
	done; printf "\n$$times"

end-to-end:
	$(CARGO) test --quiet --locked --workspace

format:
	$(CARGO) fmt --all --check

lint:
	$(CARGO) clippy --quiet --locked --workspace --all-targets -- --deny warnings

docs:
	RUSTDOCFLAGS="--deny warnings" $(CARGO) doc --quiet --locked --workspace --no-deps

# The binaries that are measured.
release:
	$(CARGO) build --quiet --locked --release $(addprefix --package ,$(FUNCTIONS))

build: target/python/cargo-lambda/.installed
	$(TOOLS) $(CARGO) lambda build --locked --release --output-format zip \
		$(if $(filter arm64,$(ARCH)),--arm64,--x86-64) $(addprefix --package ,$(FUNCTIONS))
	@ls -l target/lambda/*/bootstrap.zip

deploy: target/python/cargo-lambda/.installed target/python/sam/.installed
	$(TOOLS) sam build --parameter-overrides Architecture=$(ARCH)
	$(TOOLS) sam deploy --guided --capabilities CAPABILITY_IAM CAPABILITY_AUTO_EXPAND \
		--parameter-overrides Architecture=$(ARCH)

# Every package is pinned, so that no resolver has to choose.
python: target/python/moto/.installed target/python/sam/.installed target/python/openapi/.installed
target/python/%/.installed: requirements/%.txt
	rm -rf target/python/$*
	$(PYTHON) -m venv target/python/$*
	target/python/$*/bin/pip install --quiet --disable-pip-version-check --no-deps --requirement $<
	touch $@
