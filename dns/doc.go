// Package dns is the cluster's DNS on one node: it answers for services and
// pods by name and forwards all other names.
//
// It reads Services, EndpointSlices, Namespaces and the Corefile in ConfigMap
// kube-system/coredns, and writes DNS answers; in the API it writes nothing.
//
//	watch ─▶ source.go ─▶ records.Zone (objects → names, pure) ─▶ server.Server ◀─ query
//	ConfigMap ─▶ config.go ─▶ corefile.Parse (pure) ─▶ server.Routes ───────┴─▶ upstream servers
//
// Start at New and Server.Run. bind.go puts the cluster DNS address on a link,
// so that every node answers on the same address by itself.
package dns
