// Package quota says how much of a ResourceQuota an object uses: for the API
// server, which refuses what does not fit, and for the controller that counts
// what is there.
//
// Reads objects through the lister that it is given; writes nothing. Start at
// evaluators.go.
package quota
