// Package e2e uses a cluster as a person does: `skiff up` in one process,
// kubectl in others, real containers and a real network.
//
// TestMain puts the tests into network, mount and process namespaces of their
// own, with a link to nowhere as the machine's: whatever runs on the host is
// neither seen nor touched, and nothing outlives the tests. The first test
// that asks for the cluster starts it, the others use the same.
//
// Reads bin/, or the directory that SKIFF_BIN names. Writes a temporary
// directory. Start at main_test.go, then cluster_test.go.
package e2e
