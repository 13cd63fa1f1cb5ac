// Package webhooks points a cluster's webhooks at a server that runs outside
// of it: on a developer's machine, or in a test's own process.
//
// A project's manifests name a service in the cluster. Point replaces it by an
// https URL and the certificate that vouches for it; Reserve finds a port.
//
// Reads and writes objects in memory only. Start at Point.
package webhooks
