#!/bin/sh
# Measures skiff: whole-process and whole-cluster figures, then the benchmarks
# that live beside the code. Run it on a machine that does nothing else.
set -eu
cd "$(dirname "$0")/.."
go run ./test/bench "$@"
[ $# -gt 0 ] && exit 0
go test -run '^$' -bench . -benchtime 1s -timeout 30m ./apiserver/... ./scheduler/... ./proxier/... ./nodeagent/... ./dns/... ./controllers/... |
	grep -E '^(Benchmark|pkg:|ok)'
