// Package endpointslicemirroring shows Endpoints that users make by hand, for
// services without a selector, as EndpointSlices too: those are what proxies and
// DNS read.
//
// It reads services, Endpoints and EndpointSlices; it writes the EndpointSlices
// that carry the label
// endpointslice.kubernetes.io/managed-by=endpointslicemirroring-controller.k8s.io.
// Start at reconciler.go; plan.go decides.
package endpointslicemirroring
