// Package bootstrap keeps what nodes join a cluster by: it signs the ConfigMap
// cluster-info with every bootstrap token that may sign, and deletes tokens
// that have expired.
//
// It reads bootstrap tokens, which are Secrets of kube-system, and kube-public's
// ConfigMap cluster-info; it writes the signatures into that (sign.go) and
// deletes tokens (clean.go). token.go reads a token. Both are off unless asked
// for, as in Kubernetes.
package bootstrap
