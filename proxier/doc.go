// Package proxier makes services work on one node: a connection to a service's
// address or node port ends at one of its endpoints.
//
// It reads Services, EndpointSlices and its own Node, and writes kernel rules;
// in the API it writes nothing but events on the Node. The way of a change:
//
//	watch ─▶ source.go ─▶ model.Tracker (decides, pure) ─▶ backend.Backend ─▶ kernel
//
// There are two real backends, ipvs and nftables, and trace, which keeps rules
// on paper for simulated nodes. Start at New and Proxier.Run; mode.go chooses
// the backend, serve.go answers health checks and metrics.
package proxier
