package simulated_test

import (
	"testing"

	"github.com/skiffcluster/skiff/nodeagent/runtime"
	"github.com/skiffcluster/skiff/nodeagent/runtime/runtimetest"
	"github.com/skiffcluster/skiff/nodeagent/runtime/simulated"
)

func TestConformance(t *testing.T) {
	runtimetest.Run(t, runtimetest.Options{}, func(*testing.T) runtime.Runtime { return simulated.New(nil) })
}
