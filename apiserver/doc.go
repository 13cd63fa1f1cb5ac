// Package apiserver is the one entrance of the cluster: REST over HTTPS over
// etcd, compatible with kube-apiserver on the wire.
//
// It is built on k8s.io/apiserver. server.go puts the parts together in the
// order of a request's way: chain.go (filters: who, may they), install.go
// (groups and discovery), routes.go (made when they are asked for; router.go
// finds a request's), registry/ (every declared kind), etcd/ (storage);
// admission/ stands between the two last. pods/, services/ and the like hold
// what only one kind has. bootstrap.go writes what every cluster begins with.
// crd/ serves custom resources behind the built-in ones, aggregation/ sends
// requests on to extension servers, fairness.go shares out what is served at a
// time, enabled.go says which versions are, web.go what HTTP itself does.
//
// Reads requests. Writes etcd; as its own client, the bootstrap objects:
// namespaces, RBAC roles, priority classes, the kubernetes Service and its
// endpoints.
package apiserver
