// Package namespace empties namespaces that are being deleted, of everything
// that the API server serves, and then lets them go.
//
// It reads namespaces, discovery, pods (how long they may take to stop) and the
// metadata of whatever a deleted namespace holds. It deletes that, and writes a
// deleted namespace's phase, conditions and spec.finalizers. Start at
// reconciler.go; content.go deletes, conditions.go tells the user what is left.
package namespace
