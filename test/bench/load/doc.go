// Package load works an API server and takes the time: the same work for every
// server that is measured. It writes objects in namespace default of a cluster
// made for it; start at [Throughput].
package load
