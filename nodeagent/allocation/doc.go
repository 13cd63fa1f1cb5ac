// Package allocation remembers what a node has given to its pods.
//
// A pod runs with the resources that it was allocated, which are those of its
// spec until somebody changes that. A changed spec is a wish: the node grants it
// when there is room, and until then, also after a restart of the agent, the pod
// is the one that was allocated.
//
// Reads and writes one file for each pod with requests or limits. Start at
// store.go; order.go says whose wish comes first.
package allocation
