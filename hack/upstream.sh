#!/bin/sh
# Builds Kubernetes' own API server, controllers, scheduler and etcd, as the
# modules publish them (hack/tools/upstream pins the versions), into
# bin/upstream. `make bench-upstream` measures skiff beside them.
set -eu
cd "$(dirname "$0")/.."
root=$PWD
want=$(cat hack/tools/upstream/go.mod hack/tools/upstream/go.sum | cksum)
mkdir -p bin/upstream
[ "$(cat bin/upstream/.built 2>/dev/null || true)" = "$want" ] && exit 0
version=$(sed -n 's|^\tk8s.io/kubernetes v|v|p' hack/tools/upstream/go.mod)
cd hack/tools/upstream
CGO_ENABLED=0 go build -trimpath -ldflags "-s -w -X k8s.io/component-base/version.gitVersion=$version" -o "$root/bin/upstream/" \
	./etcd k8s.io/kubernetes/cmd/kube-apiserver k8s.io/kubernetes/cmd/kube-controller-manager k8s.io/kubernetes/cmd/kube-scheduler
echo "$want" >"$root/bin/upstream/.built"
