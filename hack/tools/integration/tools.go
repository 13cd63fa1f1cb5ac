//go:build tools

// Package tools pins the versions that hack/integration.sh runs.
package tools

import (
	_ "k8s.io/kubernetes/cmd/kube-apiserver"
	_ "k8s.io/kubernetes/test/integration/framework"
)
