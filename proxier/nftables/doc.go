// Package nftables is the backend that balances in nftables, for kernels
// without IPVS. It reads model.Service and writes the tables skiff-proxy (ip
// and ip6) and, for UDP, removes conntrack entries of endpoints that are gone.
//
// There is no chain for a service. A client's destination finds a verdict that
// goes to one of few chains, one for each number of endpoints:
//
//	address · protocol · port ─ services ─▶ chain services-…-N
//	  in it: address · protocol · port · random(N) ─ services-endpoints ─▶ address · port ─▶ dnat
//
// So a change is a few map elements whatever the number of services, and the
// kernel takes ten thousand services in one small batch. Start at Backend.Apply,
// then rules.go for the chains, entries.go for the elements and sticky.go for
// session affinity.
package nftables
