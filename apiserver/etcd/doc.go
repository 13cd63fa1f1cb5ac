// Package etcd holds the cluster's data: an etcd member inside this process,
// called without sockets, or a client of an etcd that runs elsewhere.
//
// Start gives a [Store]; Getter makes of it what k8s.io/apiserver's registry
// asks for, one storage for each resource behind a watch cache, all over the
// one client.
//
// Reads and writes the member's data directory. Start at member.go.
package etcd
