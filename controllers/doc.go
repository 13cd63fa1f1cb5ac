// Package controllers runs the loops that make the cluster match what its
// objects ask for: Deployments into ReplicaSets, ReplicaSets into Pods, silent
// Nodes into evictions, and so on.
//
// Each controller is a folder of its own with one Reconciler. A turn of a
// reconciler reads from the manager's cache, decides in a pure plan, acts
// through the API and writes status once, at the end. The room joins them:
// which controllers there are, who leads, what they share.
//
//	Run ─▶ leader election (one Lease) ─▶ manager ─┬▶ deployment
//	          │ lost: stop all, stand again        ├▶ replicaset, statefulset, job …
//	          └ stopped: release, next one leads   └▶ node, namespace, gc …
//
// A standby holds no caches and no watches: it costs one small read every
// retry period. The same room runs inside the server's process, as a process
// of its own, or on a developer's machine against any Kubernetes API server.
//
// Reads the kinds that its controllers name. Writes the Lease
// kube-system/kube-controller-manager, Events, and what each controller's
// doc.go says. Start at controllers.go: the list of controllers.
package controllers
