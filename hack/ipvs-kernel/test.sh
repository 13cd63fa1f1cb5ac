#!/bin/bash
# test.sh [go test flags]: run the tests that need IPVS, or SCTP, in a kernel
# that has both (see run.sh). The race detector needs cgo, which a program in
# that kernel cannot have.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cd "$here/../.."
SKIFF_IPVS_KERNEL=$("$here/build.sh")
export SKIFF_IPVS_KERNEL CGO_ENABLED=0
hack/gotest.sh -exec "$here/run.sh -t 300" "$@" -- ./proxier ./proxier/ipvs
exec hack/gotest.sh -exec "$here/run.sh -t 300" "$@" -run 'TestBackend/.*SCTP' -- ./proxier/nftables
