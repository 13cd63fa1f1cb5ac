// Package rootca publishes the cluster's certificate authority in every
// namespace, as the ConfigMap kube-root-ca.crt that pods mount to check the API
// server's certificate.
//
// It reads namespaces and writes that one ConfigMap in each. It keeps a cache of
// its own, which holds only the ConfigMaps of that name. Start at reconciler.go.
package rootca
