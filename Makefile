# Few targets; .ci/run calls the same ones.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := build
.PHONY: build test lint bench cross clean proved soak conformance fleet lab packages packages-test

VERSION := $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)
COMMIT  := $(shell git rev-parse --short=12 HEAD 2>/dev/null || echo unknown)
DATE    := $(shell git log -1 --format=%cI 2>/dev/null || echo unknown)
LDFLAGS := -s -w -X main.version=$(VERSION) -X main.commit=$(COMMIT) -X main.date=$(DATE)

# Built by the Go proxy's sources, pinned, and kept out of the machine's own tools.
GOLANGCI_VERSION := v2.15.0
TOOLS    := $(CURDIR)/.cache/bin
GOLANGCI := $(TOOLS)/golangci-lint-$(GOLANGCI_VERSION)

# build makes the static binary bin/ferry, stamped with version, commit and the date of the commit.
build:
	CGO_ENABLED=0 go build -trimpath -buildvcs=false -ldflags '$(LDFLAGS)' -o bin/ferry ./cmd/ferry

# test runs every test with the race detector and fails when a test of e2e/mustrun.txt was skipped. PKG narrows it:
# make test PKG=./transfer/...
PKG ?= ./...
test:
	packaging/ci/install-packages
	go run ./e2e/proved -must e2e/mustrun.txt -features e2e/features.txt -check docs/PROVED.md -- $(PKG)

# proved writes docs/PROVED.md from a run of all tests; `make test` checks that it still says the truth.
proved:
	packaging/ci/install-packages
	go run ./e2e/proved -must e2e/mustrun.txt -features e2e/features.txt -write docs/PROVED.md -- ./...

lint: $(GOLANGCI)
	$(GOLANGCI) run ./...
	GOOS=windows $(GOLANGCI) run ./...
	cd e2e/conformance && $(GOLANGCI) run -c $(CURDIR)/.golangci.yml ./...
	cd packaging/pack && $(GOLANGCI) run -c $(CURDIR)/.golangci.yml ./...

$(GOLANGCI):
	mkdir -p $(TOOLS)
	GOBIN=$(TOOLS) GOFLAGS= GOOS= GOARCH= CGO_ENABLED=0 go install github.com/golangci/golangci-lint/v2/cmd/golangci-lint@$(GOLANGCI_VERSION)
	mv $(TOOLS)/golangci-lint $@

# cross builds and vets what we ship for.
cross:
	for t in linux/amd64 linux/arm64 windows/amd64; do \
		echo "cross $$t"; \
		export CGO_ENABLED=0 GOOS=$${t%/*} GOARCH=$${t#*/}; \
		go build -trimpath -buildvcs=false -ldflags '$(LDFLAGS)' -o bin/$$GOOS-$$GOARCH/ ./cmd/ferry; \
		go vet ./...; \
	done

# conformance drives a running controller with the vendor's SDK. It is a module of its own: the SDK never enters the agent.
conformance:
	cd e2e/conformance && go vet ./... && go test -count=1 -timeout 5m ./...

# bench compares Ferry with its peers on the same data, in turn; BENCH holds its options (-h lists them).
BENCH ?=
bench: build
	packaging/ci/install-packages
	go run ./e2e/bench $(BENCH)

# fleet measures a controller under 10,000 polling sources and 2,000 reporting tasks; FLEET holds its options (-h lists them).
FLEET ?=
fleet: build
	go run ./e2e/fleet $(FLEET)

# lab starts Debian in virtual machines, without KVM, and compares what ferry finds there with what the system's own tools say.
# The first time it makes that Debian in the user's cache directory.
lab:
	packaging/ci/install-packages apt-packages apt-packages-lab
	FERRY_LAB=1 go test -count=1 -timeout 45m -v ./e2e/machine

# packages makes the packages of this commit in dist; packaging/build says which keys sign them.
packages:
	packaging/ci/install-packages apt-packages-pack
	packaging/build

# packages-test builds them twice, signed with keys of the test's own, and lives their lives: in systemd-nspawn, in a chroot, under wine.
# The Debian inside is that of the lab.
packages-test:
	packaging/ci/install-packages apt-packages apt-packages-lab apt-packages-pack
	packaging/try

# soak runs what takes too long for every change: 2,000,000 files; XFS and Btrfs copied block by block under a writer; 100 rounds of
# taking and copying what fio writes.
soak:
	FERRY_SOAK=1 go test -count=1 -timeout 2h -run Soak -v ./e2e
	FERRY_SOAK=1 go test -count=1 -timeout 1h -run Live -v ./e2e/block
	FERRY_SOAK=1 go test -count=1 -timeout 1h -run TakeWhileWriting -v ./transfer/track

clean:
	rm -rf bin dist
