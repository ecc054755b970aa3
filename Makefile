# make run [ARGS=--once]   the whole set on this machine
# make test                everything that must pass
# make soak                ten thousand events with everything going wrong that can

CARGO ?= cargo

.PHONY: run soak
run:
	$(CARGO) build --quiet --locked --release --package sandbox
	target/release/sandbox $(ARGS)

soak:
	$(CARGO) build --quiet --locked --release --package sandbox
	target/release/sandbox soak $(ARGS)
