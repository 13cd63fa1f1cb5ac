#!/bin/bash
# Runs packages of Kubernetes' own integration tests (k8s.io/kubernetes'
# test/integration, and ext/ for those of k8s.io/apiextensions-apiserver) with
# `skiff server` in the place of the kube-apiserver that they start in their
# process. hack/tools/integration has what takes its place and pins the
# versions; docs/status.md says what passes.
#
# usage: hack/integration.sh PACKAGE [FLAG…]   flags are those of a test's program
#        hack/integration.sh apiserver/apply -test.run TestApplyAlsoCreates
#        hack/integration.sh ext/.
#
# SKIFF is the program that is tested, if it is not bin/skiff. Tests bring
# Kubernetes' own controllers, or need none.
set -euo pipefail
cd "$(dirname "$0")/.."
root=$PWD
dir=$root/bin/integration
package=${1:?PACKAGE is missing}
shift
export CGO_ENABLED=0 SKIFF=${SKIFF:-$root/bin/skiff} PATH=$root/bin/upstream:$PATH

# copy MODULE NAME: the module with our files in it. The go command takes no
# other files for packages of its module cache.
copy() {
	local from
	mkdir -p "$dir"
	from=$(cd hack/tools/upstream && go list -m -f '{{if .Replace}}{{.Replace.Dir}}{{else}}{{.Dir}}{{end}}' "$1")
	if [ ! -e "$dir/$2/go.mod" ]; then
		rm -rf "${dir:?}/$2"
		cp -r "$from" "$dir/$2"
		chmod -R u+w "$dir/$2"
		rm -rf "$dir/$2/vendor" "$dir/$2"/go.work*
	fi
	cp -r "hack/tools/integration/_overlay/$2/." "$dir/$2/"
}

hack/upstream.sh
copy k8s.io/kubernetes kubernetes
copy k8s.io/apiextensions-apiserver apiextensions-apiserver
case $package in
ext/*)
	import=k8s.io/apiextensions-apiserver/test/integration/${package#ext/}
	at=$dir/apiextensions-apiserver/test/integration/${package#ext/}
	;;
*)
	import=k8s.io/kubernetes/test/integration/$package
	at=$dir/kubernetes/test/integration/$package
	;;
esac
data=$(mktemp -d)
program=$data/$(basename "${import%/.}").test # as `go test` names it: tests expect a field manager of that name
etcd=
trap '[ -z "$etcd" ] || { kill "$etcd"; wait "$etcd" || true; }; rm -rf "$data"' EXIT
(cd hack/tools/integration && go test -trimpath -vet=off -ldflags '-s -w' -c -o "$program" "${import%/.}")
cd "$at"
case $package in
ext/*) # Kubernetes' tests start an etcd themselves
	export KUBE_INTEGRATION_ETCD_URL=http://127.0.0.1:${INTEGRATION_ETCD_PORT:-2379}
	etcd --data-dir "$data/etcd" --listen-client-urls "$KUBE_INTEGRATION_ETCD_URL" --advertise-client-urls "$KUBE_INTEGRATION_ETCD_URL" \
		--listen-peer-urls http://127.0.0.1:0 --unsafe-no-fsync --log-level error &
	etcd=$!
	;;
esac
"$program" -test.v -test.timeout "${INTEGRATION_TIMEOUT:-20m}" "$@"
