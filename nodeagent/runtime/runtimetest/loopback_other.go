//go:build !linux

package runtimetest

import (
	"testing"

	"github.com/skiffcluster/skiff/nodeagent/runtime"
)

// loopback: there are no network namespaces here.
func (s *suite) loopback(*testing.T, runtime.Sandbox) bool { return false }
