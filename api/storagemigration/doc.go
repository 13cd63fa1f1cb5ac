// Package storagemigration says what is true of the kinds of
// storagemigration.k8s.io: orders to write objects again in the version and
// with the key that is stored now.
//
// Reads nothing, writes nothing. Start at storageversionmigration.go.
package storagemigration
