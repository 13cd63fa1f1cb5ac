// Package api says what is true of each kind that the API server serves.
//
// There is one folder for a group and one file for a kind. A file declares a
// single value, an [Of] with the kind's Go type from k8s.io/api, that holds
// its names, defaults, validation, what a create or an update resets, its
// subresources, the fields one may select by and the columns `kubectl get`
// prints. Reading one file tells all that the server does to an object of
// that kind; adding a kind is adding a file to the folder and a line to the
// folder's Kinds.
//
// A further version of a kind (an alpha, a beta, autoscaling/v1) is the same
// declaration [Kind.In] that version: api/scheme converts what goes over the
// wire, and everything else is said once.
//
// The room holds no storage, no HTTP and no clock: its functions are pure.
// apiserver/registry turns every [Kind] into REST storage, once for all.
//
// Reads nothing, writes nothing. Start at kind.go, then
// apps/deployment.go as an example.
package api
