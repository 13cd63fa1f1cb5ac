// Package cluster is a whole Kubernetes-compatible cluster in this process,
// and the library's front door.
//
//	c, err := cluster.Start(ctx, cluster.Config{})   // an API server, controllers, a scheduler, a simulated node
//	defer c.Stop()
//	k := kubernetes.NewForConfigOrDie(c.RESTConfig())
//
// It is the only package that knows every room. A tour in the order of a
// start, which is also the order of a request's consequences:
//
//   - apiserver: REST over etcd, which everything else meets at
//   - controllers: Deployments become ReplicaSets, ReplicaSets become pods
//   - scheduler: pods get a node
//   - nodeagent: pods on a node become containers
//   - proxier and dns: a service's address and name lead to its pods
//
// What a cluster begins with is in [Config]: CRDs, Manifests, Objects, Webhooks
// (content.go). Clients of other processes get in by [Cluster.Kubeconfig]
// (socket.go). With Masters the API servers are processes of their own, and this
// one has only what is beside them (beside.go).
//
// Each room has a small Config, nested in [Config], and one lifecycle
// ([component]): New, Run until the context ends, Ready.
//
// Reads and writes its data directory: certificates, etcd's data, each node's.
package cluster
