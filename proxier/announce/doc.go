// Package announce makes one node answer for each load-balancer address of the
// pool: the node that holds the address's Lease has it on its link and tells
// the neighbours by gratuitous ARP or an unsolicited neighbour advertisement.
//
// It reads what addresses are wanted here and writes Leases
// kube-system/skiff-lb-… and addresses of the node's link. Start at Announcer.
package announce
