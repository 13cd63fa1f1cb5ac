// Package podsource gives the agent the pods of its node: from the API server
// by a watch of its own, or from whoever has them already, as a process with
// thousands of simulated nodes has.
//
// Reads pods bound to one node. Writes nothing. Start at Source.
package podsource
