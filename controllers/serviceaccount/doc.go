// Package serviceaccount keeps the service account "default" in every active
// namespace, so that pods that name no account have one.
//
// It reads namespaces and service accounts and writes (creates) service
// accounts. Start at reconciler.go.
package serviceaccount
