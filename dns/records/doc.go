// Package records turns Services, EndpointSlices and Namespaces into DNS
// answers, after the Kubernetes DNS specification 1.1.0 and, where that is
// silent, as CoreDNS does. It is pure: no client, no socket, no clock.
//
// Start at Zone.Answer; parse.go says which names mean what.
package records
