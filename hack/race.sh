#!/bin/sh
# Runs the tests of pure and in-process code under the race detector. Tests of
# whole machines (containers, kernels) say little under it and take long.
# usage: hack/race.sh [go test flags]
set -eu
cd "$(dirname "$0")/.."
packages=$(go list ./... | grep -v -e /test/e2e -e /test/chaos -e /proxier/ipvs -e /config/samples -e /internal/kubectl)
# The race detector needs cgo, and several times the memory: no more packages
# at a time than there are processors.
# shellcheck disable=SC2086
CGO_ENABLED=1 go test -race -p "$(nproc)" -timeout 20m "$@" $packages
