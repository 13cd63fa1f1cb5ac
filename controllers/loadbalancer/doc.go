// Package loadbalancer gives Services of type LoadBalancer their addresses:
// from a pool where there is one, or else those of the nodes, so that such
// services work without a cloud.
//
// It reads Services, Nodes and EndpointSlices and writes
// status.loadBalancer.ingress of the services that are its own: those without
// a class, and those of class Class. Which node announces a pool's address is
// the proxier's (proxier/announce). Start at reconciler.go; plan.go decides.
package loadbalancer
