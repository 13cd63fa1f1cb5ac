// Package networking says what is true of the kinds of networking.k8s.io: who
// may reach pods, and how requests from outside find services.
//
// Reads nothing, writes nothing. Start at kinds.go.
package networking
