// Package auth says who sends a request and whether they may.
//
// Authentication (authn.go): the caller of the in-process transport, client
// certificates, the token file, service-account tokens (serviceaccount.go);
// anonymous for health and version only. Authorization: system:masters, then
// agents (node.go), then RBAC (rbac.go). policy.go holds the roles that every
// cluster begins with.
//
// Reads RBAC objects, ServiceAccounts, Secrets, Pods and Nodes. Writes the
// bootstrap roles and bindings.
package auth
