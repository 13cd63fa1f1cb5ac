// Package auth says who sends a request and whether they may.
//
// Authentication (authn.go): the caller of the in-process transport, client
// certificates, service-account tokens (serviceaccount.go), and what an
// administrator adds, one small file each (basic.go, bootstraptoken.go,
// issuers.go, webhook.go); anonymous for health and version only.
// Authorization (modes.go): system:masters, then by default agents (node.go)
// and RBAC (rbac.go). follow.go keeps up with files that change. policy.go
// holds the roles that every cluster begins with.
//
// Reads RBAC objects, ServiceAccounts, Secrets, Pods and Nodes, and the files
// that flags name. Writes the bootstrap roles and bindings.
package auth
