// Package policy enforces NetworkPolicies on the pods of one node.
//
// Model turns policies, pods and namespaces into a State, purely; Table makes
// an nftables table hold it, by writing differences.
//
//	postrouting (98, egress)   connection known → accept; from this node itself → accept;
//	                           to itself → accept; source → the chain of its policies
//	postrouting (99, ingress)  the same for the target
//	chain of a pod's policies  jump to each policy, then drop
//	chain of a policy          one rule for each peer and port → accept
//
// All that leaves the node towards a pod, or comes from one, passes
// postrouting: forwarded, balanced by IPVS, or bridged after a redirect; there
// the target is a service's endpoint already and the source still the client.
// What a pod sends to its own node does not, and is always allowed, as
// Kubernetes documents. Connections that exist go on when policies change.
//
// Reads nothing from the API: its caller does. Writes one table. Start at
// model.go.
package policy
