//go:build tools

// Package tools pins what hack/conformance.sh builds: the suite's tests, its
// runner and the program of its test image.
package tools

import (
	_ "github.com/onsi/ginkgo/v2/ginkgo"
	_ "k8s.io/kubernetes/test/e2e"
	_ "k8s.io/kubernetes/test/images/agnhost"
)
