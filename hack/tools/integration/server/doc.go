// Package server starts `skiff server` in the place of kube-apiserver, for
// Kubernetes' own integration tests, which start one in their process.
//
// Reads kube-apiserver's options as a test sets them; writes a directory that
// lives as long as the server. Start at Start.
package server
