// Package ipvs is the backend that balances in the kernel's IPVS. It reads
// model.Service and writes virtual and real servers, service addresses on the
// link kube-ipvs0 (by which network plugins know to leave them alone), sysctls
// under net.ipv4.vs, and the tables skiff-ipvs, in which nftables does what
// IPVS does not: masquerade, source ranges, refusing, silence.
//
// A server that goes gets weight 0 and is removed when its connections have
// ended; UDP servers are removed at once. Start at Backend.Apply; plan.go says
// which virtual servers are wanted, rules.go what nftables does around them,
// reconcile.go writes differences.
package ipvs
