// Package image sees to it that a container's image is present, by its pull
// policy, with the credentials of its pod.
//
// Reads nothing from the API itself: it is given Secrets. Writes images of the
// runtime, and events through its caller. Start at Puller.Ensure.
package image
