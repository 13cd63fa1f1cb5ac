package server

import (
	"fmt"
	"slices"
	"strings"

	"k8s.io/component-base/featuregate"
)

// Gates are the features that a test wants to be other than they are by default,
// as --feature-gates takes them: skiff has a part of Kubernetes' (see Unknown).
// why says what it has no switch for at all.
func Gates(g featuregate.MutableVersionedFeatureGate, binary string) (flags []string, why string) {
	if v := g.EmulationVersion(); v != nil && v.String() != binary {
		return nil, "emulates Kubernetes " + v.String()
	}
	var out []string
	for f, spec := range g.GetAll() {
		if on := g.Enabled(f); on != spec.Default && f != "AllAlpha" && f != "AllBeta" {
			out = append(out, fmt.Sprintf("%s=%t", f, on))
		}
	}
	if len(out) == 0 {
		return nil, ""
	}
	slices.Sort(out)
	return []string{"--feature-gates=" + strings.Join(out, ",")}, ""
}

// Unknown says whether a server did not start for a feature that it does not
// have.
func Unknown(err error) bool {
	return err != nil && strings.Contains(err.Error(), "--feature-gates: ")
}
