// Package podctl is what the controllers that own pods share: what a pod's
// status means to its owner, and creating and deleting pods with the events
// that tell of it.
//
// Writes Pods (create, delete) and Events. Start at [Control].
package podctl
