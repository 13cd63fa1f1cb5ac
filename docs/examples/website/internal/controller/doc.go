// Package controller makes a Deployment and a Service of each Website, and
// keeps a ConfigMap with the addresses of all of them.
//
// Reads Websites and Deployments; writes a Website's status and finalizer, its
// Deployment and Service, and the ConfigMap. Start at Reconciler.
package controller
