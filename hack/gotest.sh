#!/bin/bash
# go test as `make test` runs it.
# usage: hack/gotest.sh [go test flags] -- packages
#
# In CI (CI is set) a test that fails is run once more, alone, and the run goes
# on when it passes then: the summary names it, and it is a bug of the test or
# of what it tests, to be filed and mended. More than three such, a panic, a
# time-out or a package that does not compile end the run at once. On a
# developer's machine nothing is tried twice.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
flags=()
while [ "$1" != -- ]; do
	flags+=("$1")
	shift
done
shift
if [ -z "${CI:-}" ]; then
	exec go test "${flags[@]}" "$@"
fi
mkdir -p "$root/bin"
(cd "$root/hack/tools/test" && go build -trimpath -ldflags '-s -w' -o "$root/bin/gotestsum" gotest.tools/gotestsum)
exec "$root/bin/gotestsum" --format pkgname --hide-summary skipped --no-color \
	--rerun-fails=1 --rerun-fails-max-failures=3 --rerun-fails-run-root-test --packages "$*" -- "${flags[@]}"
