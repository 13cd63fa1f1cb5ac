#!/bin/sh
# Builds containerd, its shim and runc into bin/, from the Go modules that
# hack/tools/containerd/go.mod pins. Needs Go; runc needs gcc, pkg-config and
# libseccomp's headers as well. What is there and current is not built again.
#
# usage: hack/containerd.sh [bin directory]
set -eu

root=$(cd "$(dirname "$0")/.." && pwd)
bin=${1:-$root/bin}
mkdir -p "$bin"
bin=$(cd "$bin" && pwd)
cd "$root/hack/tools/containerd"

# One line that changes with every version: kept beside the binaries, it says
# what they were built from.
want=$(cat "$root/hack/containerd.sh" go.mod go.sum | cksum)
stamp=$bin/.containerd-built
if [ "$(cat "$stamp" 2>/dev/null)" = "$want" ] && [ -x "$bin/containerd" ] &&
	[ -x "$bin/containerd-shim-runc-v2" ] && [ -x "$bin/runc" ]; then
	exit 0
fi

if ! command -v gcc >/dev/null || ! pkg-config --exists libseccomp 2>/dev/null; then
	echo "hack/containerd.sh: runc needs gcc, pkg-config and libseccomp's headers (Debian: apt-get install gcc pkg-config libseccomp-dev)" >&2
	exit 1
fi

version() { go list -m -f '{{.Version}}' "$1"; }
ctd=github.com/containerd/containerd/v2
ldflags="-s -w -X $ctd/version.Version=$(version $ctd)"

# A binary is renamed into place, so that one which runs can be replaced.
build() {
	name=$1
	shift
	echo "building $name"
	go build -trimpath -o "$bin/.$name.new" "$@"
	mv "$bin/.$name.new" "$bin/$name"
}

# The agent talks to containerd's own API: CRI and snapshotters that need
# special disks stay out.
CGO_ENABLED=0 build containerd-shim-runc-v2 -tags "no_grpc osusergo netgo" \
	-ldflags "$ldflags" $ctd/cmd/containerd-shim-runc-v2
CGO_ENABLED=1 build runc -tags "seccomp urfave_cli_no_docs netgo osusergo" \
	-ldflags "-s -w" github.com/opencontainers/runc
CGO_ENABLED=0 build containerd -tags "no_cri no_btrfs no_devmapper no_zfs no_tracing urfave_cli_no_docs osusergo netgo" \
	-ldflags "$ldflags" $ctd/cmd/containerd
printf '%s\n' "$want" >"$stamp"
