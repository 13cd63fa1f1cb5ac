#!/bin/sh
# Runs the linters that .golangci.yml names, at the version that
# hack/tools/lint/go.mod pins, and go vet.
set -eu
cd "$(dirname "$0")/.."
root=$PWD
lint=$root/bin/golangci-lint
stamp=$root/bin/.golangci-lint-built
want=$(cksum <hack/tools/lint/go.sum)
if [ "$(cat "$stamp" 2>/dev/null)" != "$want" ] || [ ! -x "$lint" ]; then
	mkdir -p bin
	(cd hack/tools/lint && go build -trimpath -ldflags '-s -w' -o "$lint" github.com/golangci/golangci-lint/v2/cmd/golangci-lint)
	printf '%s\n' "$want" >"$stamp"
fi
unformatted=$(git ls-files '*.go' | grep -v zz_generated | xargs gofmt -l)
if [ -n "$unformatted" ]; then
	printf 'not formatted (run make fmt):\n%s\n' "$unformatted" >&2
	exit 1
fi
"$lint" run --timeout 20m ./...
