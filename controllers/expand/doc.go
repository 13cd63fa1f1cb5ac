// Package expand says of claims that ask for more than they have that they
// wait for their driver's external-resizer, which does the work: it grows the
// volume and writes capacity, allocatedResources and the conditions Resizing and
// FileSystemResizePending in the claim's status.
//
// It reads claims and volumes, and records events. Start at reconciler.go.
package expand
