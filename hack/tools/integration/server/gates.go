package server

import (
	"fmt"
	"slices"
	"strings"

	"k8s.io/component-base/featuregate"
)

// Gates says how a test wants Kubernetes to be other than it is by default;
// "" when it does not. skiff has no such switches.
func Gates(g featuregate.MutableVersionedFeatureGate, binary string) string {
	if v := g.EmulationVersion(); v != nil && v.String() != binary {
		return "emulates Kubernetes " + v.String()
	}
	var out []string
	for f, spec := range g.GetAll() {
		if on := g.Enabled(f); on != spec.Default && f != "AllAlpha" && f != "AllBeta" {
			out = append(out, fmt.Sprintf("%s=%t", f, on))
		}
	}
	if len(out) == 0 {
		return ""
	}
	slices.Sort(out)
	return "features: " + strings.Join(out, ", ")
}
