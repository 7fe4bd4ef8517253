# Two commands for people: `make demo` and `make test`. Everything real is Cargo's.

TARGET      := x86_64-unknown-linux-gnu
RELEASE     := target/release
MACHINE     := $(RELEASE)/machine
IMAGES      := $(RELEASE)/images
ENGINE      := target/$(TARGET)/release/machine-engine
GUEST_IMAGE := $(RELEASE)/guest-image
BUSYBOX     := $(RELEASE)/busybox.tar
# Clients that Debian 12 and Ubuntu do not package as we need them; see tests/install-tools.sh.
TOOLS       := target/tools

.PHONY: build demo test bench lint host-tools test-tools programs

build: programs
	$(IMAGES) build --engine $(ENGINE) --output $(GUEST_IMAGE)
	$(IMAGES) busybox --output $(BUSYBOX)

programs:
	cargo build --release --locked -p machine -p images
	cargo guest --locked

host-tools:
	tests/install-tools.sh demo

demo: host-tools build
	TOOLS=$(TOOLS) IMAGES=$(IMAGES) MACHINE=$(MACHINE) BUSYBOX=$(BUSYBOX) tests/demo.sh

test-tools:
	tests/install-tools.sh test
	TOOLS=$(TOOLS) tests/install-node-packages.sh

lint:
	cargo fmt --all --check
	cargo clippy --locked --workspace --all-targets -- -D warnings

# Unit and golden tests first: they are quick to fail. What needs the built guest comes after.
test: test-tools lint
	tests/as-root.sh cargo test --locked --workspace --exclude tests
	$(MAKE) build
	TOOLS=$(TOOLS) IMAGES=$(IMAGES) tests/install-clients.sh
	tests/debian-vm.sh target/debian-vm
	tests/as-root.sh cargo test --locked -p tests -- --test-threads=2

bench: test-tools build
	TOOLS=$(TOOLS) IMAGES=$(IMAGES) tests/install-clients.sh
	tests/debian-vm.sh target/debian-vm
	cargo run --locked -p tests --bin bench -- $(BENCH)
