#!/bin/sh
# Writes config/rbac/role.yaml from the kubebuilder markers in controllers/.
set -eu
cd "$(dirname "$0")/.."
root=$PWD
mkdir -p bin
(cd hack/tools/manifests && go build -o "$root/bin/controller-gen" sigs.k8s.io/controller-tools/cmd/controller-gen)
bin/controller-gen rbac:roleName=skiff-controllers paths=./controllers/... output:rbac:dir=config/rbac
