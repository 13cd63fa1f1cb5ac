// Package registry turns every kind that package api declares into REST
// storage, once for all: what is true of one kind only stays in its file in
// api, and what is true of all of them is here.
//
// Start at resource.go. strategy.go is what the library's store asks on each
// create, update and delete; status.go and scale.go are the subresources;
// table.go prints.
//
// Reads and writes objects through apiserver/etcd.
package registry
