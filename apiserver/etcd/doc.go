// Package etcd holds the cluster's data: an etcd member inside this process,
// called without sockets, or a client of an etcd that runs elsewhere.
//
// Start gives a [Store]; Getter makes of it what k8s.io/apiserver's registry
// asks for, one storage for each resource, behind a watch cache (but for events),
// all over the one client. What makes it more than that stands in a file each: guard.go
// refuses writes before the disk is full, pace.go spares a member that comes
// back, feed.go and gate.go let watch caches and the store end, share.go keeps
// versions of one object in the same memory, direct.go asks the member without
// the client's own forms.
//
// Reads and writes the member's data directory. Start at member.go.
package etcd
