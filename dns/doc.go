// Package dns is the cluster's DNS on one node: it answers for services and
// pods by name and lets CoreDNS's plugins answer all other names.
//
// It reads Services, EndpointSlices, Namespaces, the Corefile in ConfigMap
// kube-system/coredns and, if that asks for it, Pods, and writes DNS answers;
// in the API it writes nothing.
//
//	watch ─▶ source.go ─▶ records.Zone (objects → names, pure) ─┐
//	                                          kubernetes.Plugin ┤
//	ConfigMap ─▶ config.go ─▶ corefile.Load ─▶ corefile.Chain ──┴─ CoreDNS's plugins ─▶ upstream servers
//	query ─▶ listen.go ─▶ Server.handler ───────────┘
//
// Start at New and Server.Run. bind.go puts the cluster DNS address on a link,
// so that every node answers on the same address by itself; loops.go finds
// upstream servers that ask us.
package dns
