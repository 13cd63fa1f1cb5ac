// Package clusterroleaggregation gives each ClusterRole with an aggregation
// rule the rules of the roles that it selects.
//
// It reads ClusterRoles and writes rules of those. Start at reconciler.go.
package clusterroleaggregation
