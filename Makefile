# make run [ARGS=--once]   the whole set on this machine; ARGS=--help lists the options
# make soak [ARGS=--calm]  ten thousand events with everything going wrong that can
# make bench [ARGS=cold]   what it costs: time, instructions, memory, money; ARGS=--help lists the options
# make test                everything that must pass
# make docs                the documentation of the code, and docs/ as a site below target/site/
# make reference           writes docs/reference/ from the code and the template
# make build               the deployable zips, below target/lambda/
# make reproducible        builds twice and compares the zips
# make deploy STACK=name   builds and deploys; asks only the first time. SET="QueueId=102" changes a value
#      PREBUILT=v1.2.3     deploys the zips of a release, or of a release's folder, and needs no Rust
# make delete STACK=name   deletes the stack
# make doctor STACK=name   what is wrong with a deployed stack, and what to do about it; changes nothing
# make trace STACK=name CONVERSATION=id   the path of one conversation's events and calls
# make dead-letters STACK=name [ARGS="redrive --conversation id"]   lists, redrives, discards
#
# ARCH=x86_64 builds for that architecture instead of arm64; deploy keeps the stack's, and asks the first time.
# Needed: Rust, Python 3, make. What else it takes is fetched below target/.

CARGO  ?= cargo
PYTHON ?= python3
ARCH   ?= arm64

FUNCTIONS := $(notdir $(wildcard functions/*))
# SAM finds cargo-lambda, and cargo-lambda finds zig, on the path.
TOOLS := PATH="$(CURDIR)/target/python/cargo-lambda/bin:$(CURDIR)/target/python/sam/bin:$$PATH" SAM_CLI_TELEMETRY=0

.PHONY: run soak sandbox bench test end-to-end format lint docs reference release python build reproducible deploy delete deploy-test \
	ministack doctor trace dead-letters

# The profile `dev`, as the tests have it: without link-time optimization the first build takes a few minutes less, and
# cargo shows its progress.
run: sandbox
	target/debug/sandbox $(ARGS)

soak: sandbox
	target/debug/sandbox soak $(ARGS)

sandbox:
	$(CARGO) build --locked --package sandbox $(addprefix --package ,$(FUNCTIONS))

# The functions' peers in Python and in Node.js are measured beside them (tests/bench/peers/README.md).
NODE_PEER := tests/bench/peers/node
bench: target/python/sam/.installed target/python/peers/.installed target/node/peers/.installed release
	$(CARGO) build --quiet --locked --release --package bench --package clock
	cp $(NODE_PEER)/bootstrap $(NODE_PEER)/handler.mjs target/node/peers/
	target/release/bench $(ARGS)

# Where it cannot be installed, the benchmark says why, and make tries again the next time.
target/node/peers/.installed: $(addprefix $(NODE_PEER)/,package.json package-lock.json install.sh) target/python/peers/.installed
	@sh $(NODE_PEER)/install.sh $(@D) target/python/peers/bin

# The dependencies are compiled twice: to check them (lint, docs) and to run them (sandbox, ministack, end-to-end). The sizes
# of the release zips are checked by `make bench`, since they need the slow release build.
TEST_PARTS := format lint docs sandbox python deploy-test ministack end-to-end
test:
	@MAKE='$(MAKE)' bash tools/test.sh $(TEST_PARTS)

end-to-end:
	$(CARGO) test --quiet --locked --workspace

format:
	$(CARGO) fmt --all --check

lint:
	@$(PYTHON) tools/words.py
	$(CARGO) clippy --quiet --locked --workspace --all-targets -- --deny warnings

# With --quiet MkDocs counts no warnings, and --strict has nothing to fail for.
docs: target/python/mkdocs/.installed
	target/python/mkdocs/bin/mkdocs build --strict
	RUSTDOCFLAGS="--deny warnings" $(CARGO) doc --quiet --locked --workspace --no-deps

reference: target/python/sam/.installed
	target/python/sam/bin/python tools/reference.py

# The binaries that are measured.
release:
	$(CARGO) build --quiet --locked --release $(addprefix --package ,$(FUNCTIONS))

build: target/python/cargo-lambda/.installed
	$(TOOLS) $(CARGO) lambda build --locked --release --output-format binary \
		$(if $(filter arm64,$(ARCH)),--arm64,--x86-64) $(addprefix --package ,$(FUNCTIONS))
	@$(PYTHON) tools/zips.py $(FUNCTIONS)
	@ls -l $(patsubst %,target/lambda/%/bootstrap.zip,$(FUNCTIONS))

# Two release builds of the committed state; what is not committed is not built.
reproducible: target/python/cargo-lambda/.installed
	$(PYTHON) tools/reproducible.py $(ARCH)

# Make passes SET and TAGS through the environment, because their values may hold quotation marks.
export SET TAGS
DEPLOY = $(TOOLS) target/python/sam/bin/python tools/deploy.py
DEPLOY_OPTIONS = $(if $(PROFILE),--profile '$(PROFILE)') $(if $(REGION),--region '$(REGION)') \
	$(if $(ROLE_ARN),--role-arn '$(ROLE_ARN)') $(if $(TAGS),--tags "$$TAGS")

deploy: target/python/sam/.installed
	@test -n "$(STACK)" || { echo 'usage: make deploy STACK=name [SET="QueueId=102"]' >&2; exit 2; }
	@$(DEPLOY) deploy '$(STACK)' $(DEPLOY_OPTIONS) $(if $(SET),--set "$$SET") \
		$(if $(PARAMETERS),--parameters '$(PARAMETERS)') $(if $(filter-out file,$(origin ARCH)),--arch '$(ARCH)') \
		$(if $(PREBUILT),--prebuilt '$(PREBUILT)') $(if $(RELEASES),--releases '$(RELEASES)')

delete: target/python/sam/.installed
	@test -n "$(STACK)" || { echo 'usage: make delete STACK=name' >&2; exit 2; }
	@$(DEPLOY) delete '$(STACK)' $(DEPLOY_OPTIONS) $(if $(YES),--yes)

OPERATE = @test -n "$(STACK)" || { echo 'usage: make $@ STACK=name' >&2; exit 2; }; \
	target/python/sam/bin/python tools/$(subst -,_,$@).py '$(STACK)' $(if $(PROFILE),--profile '$(PROFILE)') \
	$(if $(REGION),--region '$(REGION)')

doctor dead-letters: target/python/sam/.installed
	$(OPERATE) $(ARGS)

trace: target/python/sam/.installed
	$(OPERATE) '$(CONVERSATION)' $(ARGS)

# The deployment script through a pseudo-terminal, against a stand-in for AWS; the deploying role against the template; and the
# documentation against the code.
deploy-test: target/python/sam/.installed
	target/python/sam/bin/python -m unittest discover -s tests/deploy

# The template, the functions and `make deploy` itself on another's AWS, with a bot platform and 8x8 from the sandbox.
ministack: target/python/ministack/.installed target/python/sam/.installed sandbox
	target/python/ministack/bin/python -m unittest discover -s tests/ministack

# Every package is pinned, so that no resolver has to choose. The tests need neither cargo-lambda nor the benchmark's peer,
# and `make docs` installs MkDocs while `make test` runs this rule beside it.
python: $(patsubst requirements/%.txt,target/python/%/.installed,\
	$(filter-out requirements/cargo-lambda.txt requirements/mkdocs.txt requirements/peers.txt,$(wildcard requirements/*.txt)))
target/python/%/.installed: requirements/%.txt
	rm -rf target/python/$*
	$(PYTHON) -m venv target/python/$*
	target/python/$*/bin/pip install --quiet --disable-pip-version-check --no-deps --requirement $<
	touch $@
