// Package services serves what only services have: their cluster addresses and
// node ports, which are given out when a service is stored and taken back when
// it goes, and the proxy subresource.
//
// allocate.go decides what a service needs (pure); ranges.go gives addresses
// and ports out; both are claims in storage, made by creating a key that only
// one can create, so that several API servers never give out the same.
//
// Reads services and endpoint slices. Writes spec.clusterIPs, spec.ports'
// nodePort, spec.healthCheckNodePort, and the claims. Start at New.
package services
