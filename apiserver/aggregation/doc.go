// Package aggregation serves groups of extension API servers as if they were
// the API server's own, by k8s.io/kube-aggregator: an APIService that names a
// service in the cluster makes requests for its group and version go there,
// with the user's name in headers and the front proxy's certificate.
//
// Every group that the server itself serves has an APIService too: those of
// built-in kinds are written at the start, those of custom resources follow
// their definitions. Proxies, availability checks and merged documents begin
// with the first APIService that names a service: most clusters never have one.
//
// Reads APIServices, CustomResourceDefinitions, and Services with their
// EndpointSlices once a service is named. Writes APIServices and their status.
// Start at New; register.go says which APIServices there are to be, remote.go
// what is made of those that name a service.
package aggregation
