# What people do with this repository; `make` lists it.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

BIN := $(CURDIR)/bin
CACHE ?= $(CURDIR)/.cache
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
LDFLAGS := -s -w -X github.com/skiffcluster/skiff/cluster/command.version=$(VERSION)
GO := go
# kubectl's version is that of its libraries, v0.37.2 is Kubernetes v1.37.2,
# written as apiserver/version.go writes it, for --match-server-version.
KUBECTL_VERSION = $(subst v0.,v1.,$(shell $(GO) list -m -f '{{.Version}}' k8s.io/kubectl))
KUBECTL_LDFLAGS = -s -w $(foreach v,gitVersion=$(KUBECTL_VERSION)+skiff gitCommit= gitMajor=1 gitMinor=$(word 2,$(subst ., ,$(KUBECTL_VERSION))) gitTreeState=clean,-X k8s.io/component-base/version.$(v))
# Static binaries, and one set of compiled packages for builds, tests and lint.
export CGO_ENABLED := 0
PROFILE ?= default
# Further flags of `make run`.
FLAGS ?=
ARCHIVE ?= $(BIN)/skiff.tar
KUBECTL ?= $(BIN)/skiff-kubectl
# Packages whose tests need root and the machine to themselves come one by one.
E2E := ./test/e2e/...

export PATH := $(BIN):$(PATH)

##@ General

help: ## List the targets.
	@awk 'BEGIN {FS = ":.*##"; print "Usage: make <target>"} \
		/^##@/ {printf "\n%s\n", substr($$0, 5)} \
		/^[a-zA-Z0-9_-]+:.*##/ {printf "  %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

##@ Build

prepare: ## Install what the build and the tests need (Debian; asks for nothing when it is there).
	@hack/prepare.sh

build: prepare ## Build skiff, kubectl, containerd and runc, and the sample images into bin/.
	@mkdir -p $(BIN)
	$(GO) build -trimpath -ldflags '$(LDFLAGS)' -o $(BIN)/skiff .
	$(GO) build -trimpath -ldflags '$(KUBECTL_LDFLAGS)' -o $(BIN)/skiff-kubectl ./internal/kubectl
	@hack/containerd.sh $(BIN)
	@hack/images.sh $(BIN)

generate: ## Write generated code and documents.
	hack/update-openapi.sh
	hack/update-kinds.sh

manifests: ## Write config/rbac from the markers in controllers/.
	hack/update-rbac.sh

##@ Run

up: build ## Build all and run a cluster with the sample application.
	hack/up.sh $(PROFILE)

run: build ## Run the controllers from here against the cluster in the kubeconfig.
	$(BIN)/skiff controllers $(FLAGS)

install: ## Install the manifests that a cluster needs before controllers run against it.
	$(KUBECTL) apply -k config/default

# Nothing waits for what only controllers finish: they may have been these.
uninstall: ## Remove what install installed.
	$(KUBECTL) delete --ignore-not-found --wait=false -k config/default

deploy: build install ## Run the controllers inside the cluster.
	$(BIN)/skiff image build -t skiff.dev/skiff:dev -o $(ARCHIVE) $(BIN)/skiff
	$(BIN)/skiff image load -p $(PROFILE) $(ARCHIVE)
	$(KUBECTL) apply -k config/manager
	$(KUBECTL) -n skiff-system rollout status deployment/skiff-controllers --timeout=120s

undeploy: ## Remove what deploy deployed.
	$(KUBECTL) delete --ignore-not-found --wait=false -k config/manager

##@ Check

test: build ## Run all tests, on real containers and kernel rules where the machine has them.
	hack/test.sh

race: prepare ## Run the tests of pure and in-process code under the race detector.
	hack/race.sh

e2e: build ## Run the end-to-end tests alone.
	$(GO) test -count=1 -parallel 8 -timeout 20m $(E2E)

CHAOS_TIME ?= 5m
CHAOS_SEED ?= 1
chaos: build ## Trouble three masters and three workers for CHAOS_TIME, in an order from CHAOS_SEED: no write may be lost (root).
	$(GO) test -count=1 -v -timeout 24h ./test/chaos -chaos.time $(CHAOS_TIME) -chaos.seed $(CHAOS_SEED)

# Regular expressions of tests' names: CONFORMANCE_FOCUS='sig-apps.*Deployment', of any test, or of
# those whose labels ginkgo finds by CONFORMANCE_LABELS ('Conformance && !Slow').
CONFORMANCE_FOCUS ?=
CONFORMANCE_SKIP ?=
CONFORMANCE_LABELS ?=
CONFORMANCE_NODES ?= 2
conformance: build ## Run Kubernetes' own conformance tests, or any of its end-to-end tests by CONFORMANCE_FOCUS (root; compiles for 15 minutes the first time).
	hack/conformance.sh build
	CONFORMANCE_FOCUS='$(CONFORMANCE_FOCUS)' CONFORMANCE_SKIP='$(CONFORMANCE_SKIP)' CONFORMANCE_LABELS='$(CONFORMANCE_LABELS)' hack/conformance.sh run --nodes $(CONFORMANCE_NODES)

# A folder below test/integration of k8s.io/kubernetes.
PACKAGE ?= apiserver/apply
integration: build ## Run PACKAGE of Kubernetes' own integration tests against skiff server.
	hack/integration.sh $(PACKAGE)

bench: build ## Measure: start, memory, throughput, latencies.
	hack/bench.sh

bench-upstream: build ## Measure beside Kubernetes' own servers, which it builds.
	hack/upstream.sh
	go run ./test/bench/beside

compare: build ## Compare all that the API server answers with kube-apiserver, which it builds.
	hack/upstream.sh
	$(GO) run ./test/compare -wide

fmt: ## Format the code.
	gofmt -w $$(git ls-files '*.go' | grep -v zz_generated)

lint: prepare ## Run the linters.
	hack/lint.sh

verify: ## Check that generated files are up to date and go.mod is tidy.
	hack/verify.sh

clean: ## Remove what was built.
	rm -rf $(BIN)

.PHONY: help prepare build generate manifests up run install uninstall deploy undeploy test race e2e chaos conformance integration bench bench-upstream compare fmt lint verify clean
