// Package network connects pods: an interface, and two implementations.
//
// Bridge is the built-in one: a bridge with the gateway address of the node's
// pod CIDR, a veth pair for each pod, addresses that are kept on disk so that
// none is given twice, masquerade of what leaves the cluster and host ports in
// an nftables table of our own. None gives addresses and connects nothing, for
// pods that exist in memory only.
//
//	pod eth0 ── veth ── skiff0 (bridge, gateway) ── routing, masquerade ── node's links
//
// Reads nothing from the API: the agent gives the pod CIDRs. Writes links,
// addresses, routes and one nftables table in the network namespace it runs
// in, and one file below its directory. Start at network.go, then bridge.go.
package network
