// Package rbac says what is true of the kinds of rbac.authorization.k8s.io:
// roles and what binds them to users.
//
// Reads nothing, writes nothing. Start at kinds.go.
package rbac
