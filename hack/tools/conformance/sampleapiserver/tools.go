//go:build tools

// Package tools pins the programs of two images of the conformance suite.
package tools

import (
	_ "k8s.io/sample-apiserver"
)
