// Package manifests reads objects from files and applies them to a cluster in
// an order in which each finds what it needs: definitions, namespaces, the
// rest, and in the end the webhooks, which may not answer yet.
//
// Reads files; reads discovery and writes any object. Start at Read and Apply.
package manifests
