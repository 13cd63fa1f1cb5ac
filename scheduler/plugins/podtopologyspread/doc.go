// Package podtopologyspread is the rule of spec.topologySpreadConstraints, and
// of the cluster's default constraints for pods without any: spread softly over
// hosts and zones.
//
// Reads labels of pods and nodes, taints, selectors of what owns the pod;
// writes nothing. Start at constraint.go.
package podtopologyspread
