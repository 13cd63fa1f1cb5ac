#!/bin/bash
# Runs Kubernetes' own end-to-end tests, as k8s.io/kubernetes publishes them
# (hack/tools/conformance pins the version), against a cluster of this
# repository: the conformance tests, or those that are asked for.
# docs/conformance.md says what passes.
#
# usage: hack/conformance.sh build           the suite and its images, into bin/conformance
#        hack/conformance.sh run [FLAG…]     against a cluster made for it; further flags are skiff up's
#        hack/conformance.sh against KUBECONFIG   against a running cluster
#
# CONFORMANCE_FOCUS and CONFORMANCE_SKIP are regular expressions of tests' names,
# CONFORMANCE_LABELS is ginkgo's expression of their labels: "Conformance", or any
# when CONFORMANCE_FOCUS is given. That no test matches is an error.
# CONFORMANCE_PROCS is how many run at a time, CONFORMANCE_TIMEOUT for how long,
# CONFORMANCE_REPORTS where the results go. SKIFF is the program that is tested, if
# it is not bin/skiff.
set -euo pipefail
from=$PWD
cd "$(dirname "$0")/.."
root=$PWD
bin=$root/bin
suite=$bin/conformance
skiff=${SKIFF:-$bin/skiff}
CONFORMANCE_FOCUS=${CONFORMANCE_FOCUS:-}
export CGO_ENABLED=0

build() {
	mkdir -p "$suite"
	# The suite is 15 minutes of compiling: not again for the same versions.
	local want
	want=$(cat hack/tools/conformance/go.{mod,sum} | cksum)
	if [ "$(cat "$suite/.built" 2>/dev/null)" != "$want" ]; then
		(
			cd hack/tools/conformance
			echo "building Kubernetes' end-to-end suite"
			go build -trimpath -ldflags '-s -w' -o "$suite/ginkgo" github.com/onsi/ginkgo/v2/ginkgo
			# Some tests ask the suite for its version.
			version=$(go list -m -f '{{.Version}}' k8s.io/kubernetes)
			minor=${version#v1.}
			ldflags="-s -w"
			for v in gitVersion="$version" gitMajor=1 gitMinor="${minor%%.*}" gitTreeState=clean; do
				ldflags="$ldflags -X k8s.io/component-base/version.$v"
			done
			go test -c -trimpath -ldflags "$ldflags" -o "$suite/e2e.test" k8s.io/kubernetes/test/e2e
		)
		printf '%s\n' "$want" >"$suite/.built"
	fi
	hack/tools/conformance/images.sh "$suite"
	go build -trimpath -ldflags '-s -w' -o "$suite/registry" ./test/conformance/registry
}

# mirror OUT DATA: has the nodes of a cluster pull the suite's images from a
# registry on this machine, which writes its address to OUT.
mirror() {
	local out=$1 data=$2 address node dir
	"$suite/registry" 0.0.0.0:0 "$suite"/images/*.tar >"$out" 2>&1 &
	registry=$!
	until [ -s "$out" ]; do
		kill -0 "$registry"
		sleep 0.1
	done
	# Nodes are hosts of their own: they reach this one by its address.
	address=$(hostname -I | cut -d' ' -f1):$(sed 's/.*://' "$out")
	for node in "$data"/nodes/*/; do
		dir=$node/certs.d/registry.k8s.io
		mkdir -p "$dir"
		printf 'server = "http://%s"\n' "$address" >"$dir/hosts.toml"
	done
}

against() {
	local reports=${CONFORMANCE_REPORTS:-$suite/reports}
	mkdir -p "$reports"
	local labels=${CONFORMANCE_LABELS:-}
	[ -n "$labels$CONFORMANCE_FOCUS" ] || labels=Conformance
	local args=(--label-filter="$labels" --fail-on-empty --procs="${CONFORMANCE_PROCS:-4}" --timeout="${CONFORMANCE_TIMEOUT:-4h}" --no-color --silence-skips)
	[ -z "$CONFORMANCE_FOCUS" ] || args+=(--focus="$CONFORMANCE_FOCUS")
	[ -z "${CONFORMANCE_SKIP:-}" ] || args+=(--skip="$CONFORMANCE_SKIP")
	# The suite calls kubectl by its name.
	mkdir -p "$suite/path"
	ln -sf "$bin/skiff-kubectl" "$suite/path/kubectl"
	local nodes
	nodes=$("$suite/path/kubectl" --kubeconfig="$1" get nodes --no-headers | wc -l)
	PATH=$suite/path:$PATH "$suite/ginkgo" "${args[@]}" "$suite/e2e.test" -- --num-nodes="$nodes" \
		--kubeconfig="$1" --provider=skeleton --report-dir="$reports" --report-complete-ginkgo \
		--kubectl-path="$suite/path/kubectl" --disable-log-dump
}

# cleanup ends what run started, and leaves nothing, however far run came.
cleanup() {
	[ -z "$registry" ] || kill "$registry" || true
	if [ -n "$up" ]; then
		kill -INT "$up" 2>/dev/null || true
		wait "$up" || true
	fi
	[ ! -d "$data/cluster" ] || "$skiff" delete --data-dir "$data/cluster" >/dev/null || true
	rm -rf "$data"
}

run() {
	local ready
	registry='' up=''
	data=$(mktemp -d)
	trap cleanup EXIT
	trap 'exit 1' INT TERM
	ready=$data/out
	set -m
	"$skiff" up -p conformance --data-dir "$data/cluster" --kubeconfig "$data/kubeconfig" "$@" >"$ready" 2>&1 &
	up=$!
	set +m
	until grep -q '^Ready in' "$ready"; do
		kill -0 "$up" 2>/dev/null || {
			cat "$ready" >&2
			exit 1
		}
		sleep 0.2
	done
	case " $* " in
	*simulated*) ;;
	*)
		"$skiff" image load --data-dir "$data/cluster" "$suite"/images/*.tar >/dev/null
		mirror "$data/registry" "$data/cluster"
		;;
	esac
	against "$data/kubeconfig"
}

command=${1:-}
[ $# -eq 0 ] || shift
case $command in
build) build ;;
run) run "$@" ;;
against)
	case ${1:?KUBECONFIG is missing} in
	/*) against "$1" ;;
	*) against "$from/$1" ;;
	esac
	;;
*)
	sed -n '/^# usage/,/^set/s/^# \{0,1\}//p' "$0" >&2
	exit 1
	;;
esac
