// Package balancer reaches the one API of several servers: it holds on to one
// that answers and goes to the next when that one does not, so that the death
// of a server costs its clients the connections to it and about a second.
//
// It reads the EndpointSlices of the Service kubernetes, by which it learns of
// servers that came and went. Start at New.
package balancer
