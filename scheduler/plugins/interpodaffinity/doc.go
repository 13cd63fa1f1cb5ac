// Package interpodaffinity is the rule of spec.affinity.podAffinity and
// podAntiAffinity, required and preferred, of the pod and of the pods that are
// there already.
//
// Reads labels and affinity of pods, labels of nodes and namespaces; writes
// nothing. Start at filter.go.
package interpodaffinity
