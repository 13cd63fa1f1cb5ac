// Package certificates says what is true of the kinds of certificates.k8s.io:
// requests for certificates that the cluster signs.
//
// Reads nothing, writes nothing. Start at kinds.go.
package certificates
