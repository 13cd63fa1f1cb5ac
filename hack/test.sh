#!/bin/bash
# What `make test` runs: all tests, those of pure code first, those that have
# the machine to themselves last, so that a small mistake shows early.
#
# usage: hack/test.sh [go test flags]
#   SKIFF_IPVS_KERNEL  a kernel for the tests of IPVS; built when it is not given
#
# On a machine without root, or without what hack/containerd.sh builds, the
# tests that need it are skipped; each of them says so under -v.
#
# The kernel (hack/ipvs-kernel) takes 5 to 9 minutes on two processors, and is
# built once: it stays below .cache, which CI may keep. It is built beside the
# other tests, so that it does not stand in their way, and at lower priority.
set -euo pipefail
cd "$(dirname "$0")/.."
root=$PWD

# 1. A kernel with IPVS, where this one has none.
kernel=
building=
if [ -e /proc/net/ip_vs ] || { modprobe ip_vs 2>/dev/null && [ -e /proc/net/ip_vs ]; }; then
	: # the tests find it by themselves
elif [ "$(uname -sm)" != "Linux x86_64" ]; then
	echo "hack/test.sh: User-Mode Linux needs x86-64; the tests of IPVS are skipped" >&2
else
	kernel=${SKIFF_IPVS_KERNEL:-$root/.cache/ipvs-kernel/$(sha256sum hack/ipvs-kernel/build.sh | cut -c 1-16)/linux}
	if [ ! -x "$kernel" ]; then
		mkdir -p "$(dirname "$kernel")"
		nice hack/ipvs-kernel/build.sh "$kernel" >"$kernel.log" 2>&1 &
		building=$!
	fi
fi
trap '[ -z "$building" ] || kill "$building" 2>/dev/null || :' EXIT

# 2. Every package but those below: two at a time on two processors.
mapfile -t packages < <(go list ./... | grep -v -e '/test/e2e$' -e '/test/chaos$' -e '/proxier/ipvs$')
hack/gotest.sh -p "$(nproc)" -timeout 15m "$@" -- "${packages[@]}"

# 3. IPVS, in this kernel or in the one that was built.
if [ -n "$building" ]; then
	echo "waiting for the kernel with IPVS ($kernel.log)"
	if ! wait "$building"; then
		building=
		tail -n 30 "$kernel.log" >&2
		echo "hack/test.sh: the kernel for the tests of IPVS can't be built; SKIFF_IPVS_KERNEL names a ready one" >&2
		exit 1
	fi
	building=
fi
if [ -n "$kernel" ]; then
	SKIFF_IPVS_KERNEL=$kernel hack/ipvs-kernel/test.sh "$@"
else
	hack/gotest.sh -timeout 10m "$@" -- ./proxier/ipvs
fi

# 4. A whole cluster on real containers, alone on the machine: what waits there
# waits for containers, so that many tests may run at once. Then one in trouble.
hack/gotest.sh -count=1 -p 1 -parallel 8 -timeout 15m "$@" -- ./test/e2e ./test/chaos
