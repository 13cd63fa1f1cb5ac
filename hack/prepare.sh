#!/bin/sh
# Installs what building and testing need on a Debian-like machine: compilers
# for runc, and tools that the tests call. It does nothing where all is there.
set -eu

missing=
need() { command -v "$1" >/dev/null 2>&1 || missing="$missing $2"; }
need gcc gcc
need pkg-config pkg-config
need ip iproute2
need make make
need nft nftables
pkg-config --exists libseccomp 2>/dev/null || missing="$missing libseccomp-dev"
[ -z "$missing" ] && exit 0

if ! command -v apt-get >/dev/null 2>&1; then
	echo "hack/prepare.sh: install these yourself, there is no apt-get here:$missing" >&2
	exit 1
fi
if [ "$(id -u)" -ne 0 ]; then
	echo "hack/prepare.sh: run as root, or install these yourself: apt-get install$missing" >&2
	exit 1
fi
export DEBIAN_FRONTEND=noninteractive
echo "installing:$missing"
apt-get update -qq
# shellcheck disable=SC2086
apt-get install -y -qq --no-install-recommends $missing >/dev/null
