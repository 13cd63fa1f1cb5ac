// Package validate holds the small checks that several kinds share: names,
// ports, enumerations, quantities and resource names. Messages, error types
// and the values shown are those of Kubernetes.
//
// Checks report into an [Errors], which keeps the functions of the kinds free
// of plumbing: a kind makes one, hands it down, and returns its List.
//
// Reads nothing, writes nothing. Start at errors.go.
package validate
