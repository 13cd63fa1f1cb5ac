// Package serviceaccounttoken fills the Secrets of type
// kubernetes.io/service-account-token that users create by hand: a token that
// never expires, the cluster's CA and the namespace. It deletes such a Secret
// when its service account is gone.
//
// It reads Secrets of that type (by a cache of its own, which holds no others)
// and service accounts; it writes those Secrets and takes deleted ones out of
// their account's secrets list. Start at reconciler.go; token.go signs.
package serviceaccounttoken
