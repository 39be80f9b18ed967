# The commands of the project. `make help` lists them.
SHELL := /bin/bash
CLUSTER ?= .cluster
N ?= 10
LISTEN ?= 127.0.0.1:4700
BIN := target/release
PATH_IN_DFS ?= /made/$(notdir $(FILE))

.PHONY: help verify build test run-namenode run-datanodes run-client-write run-client-read quickstart analytics bench soak clean

help: ## Show this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | awk -F'\t' '{printf "  %-18s %s\n", $$1, $$2}'
	@echo "  variables: FILE=path N=10 CLUSTER=.cluster LISTEN=127.0.0.1:4700"

verify: ## Everything CI checks; changes nothing
	@.ci/run

build: ## Build the daemons and the command line, optimised
	cargo build --release -p godfs-server --bins

test: ## The tests
	cargo test --workspace

run-namenode: build ## Run a namenode in the foreground (first start makes a new cluster)
	@mkdir -p $(CLUSTER)
	$(BIN)/godfs-namenode --init --dir $(CLUSTER)/namenode --listen $(LISTEN)

run-datanodes: build ## Run N datanodes as processes until interrupted
	@mkdir -p $(CLUSTER)
	@trap 'kill $$(jobs -p) 2>/dev/null; wait' EXIT INT TERM; \
	for i in $$(seq 1 $(N)); do \
	  $(BIN)/godfs-datanode --dir $(CLUSTER)/datanode-$$i --namenode $(LISTEN) --listen 127.0.0.1:0 & \
	done; wait

run-client-write: build ## Write FILE=path into the running cluster
	@test -n "$(FILE)" || { echo "usage: make run-client-write FILE=path" >&2; exit 2; }
	$(BIN)/godfs --fs godfs://$(LISTEN) mkdir -p /made
	$(BIN)/godfs --fs godfs://$(LISTEN) put -f "$(FILE)" "$(PATH_IN_DFS)"
	@mkdir -p $(CLUSTER) && printf '%s' "$(PATH_IN_DFS)" > $(CLUSTER)/last-written

run-client-read: build ## Read back what run-client-write wrote last, and print its SHA-256
	@test -s $(CLUSTER)/last-written || { echo "nothing written yet: make run-client-write FILE=path" >&2; exit 2; }
	@path=$$(cat $(CLUSTER)/last-written); \
	$(BIN)/godfs --fs godfs://$(LISTEN) ls -l "$$path" && \
	set -o pipefail && $(BIN)/godfs --fs godfs://$(LISTEN) cat "$$path" | sha256sum | sed "s|-|$$path|"

quickstart: ## The main job, end to end, in one process
	cargo run --release --example quickstart

analytics: ## DataFusion, Delta and Parquet on GoDFS, beside a local folder (builds 450 crates: the first time takes half an hour)
	cd examples/analytics && cargo run --release

bench: ## The criterion benches
	cargo bench --bench '*'

soak: ## The long tests: kills, crashes and simulations, many more rounds than CI runs
	.ci/soak

clean: ## Remove the clusters that the run- targets made
	rm -rf $(CLUSTER)
