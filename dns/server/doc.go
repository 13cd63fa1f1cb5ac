// Package server answers DNS queries: those about the cluster from
// records.Zone, all others by asking upstream servers, with a cache.
//
// It reads queries and upstream answers and writes answers; start at
// Server.ServeDNS. forward.go asks upstream, cache.go keeps answers.
package server
