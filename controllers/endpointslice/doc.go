// Package endpointslice keeps the EndpointSlices of every service that selects
// pods, so that proxies and DNS know where its traffic goes.
//
// It reads services, pods, nodes and EndpointSlices; it writes the
// EndpointSlices that carry the label
// endpointslice.kubernetes.io/managed-by=endpointslice-controller.k8s.io
// and leaves all others alone. What a slice holds is decided by
// k8s.io/endpointslice, as in Kubernetes. Start at reconciler.go; watch.go tells
// which services a change of a pod, slice or node concerns; pace.go spaces the
// writes for busy services; lag.go ends a wait for the cache that would never end.
package endpointslice
