// Package resources says what pods and containers get of the node's CPU and
// memory: the numbers of their cgroups from a pod's spec, the plan that brings a
// running pod from what it has to what it shall have, and the way back, from
// what it has to its status.
//
// Pure: it reads a pod, as it was allocated, and what the runtime says of it, and
// writes nothing. Start at resources.go; plan.go is in-place resize.
package resources
