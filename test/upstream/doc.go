// Package upstream starts `skiff server` and Kubernetes' own servers (etcd,
// kube-apiserver, kube-controller-manager, kube-scheduler, as hack/upstream.sh
// builds them) on this machine, for programs that hold the one beside the other.
//
// Reads bin/ below the working directory; writes temporary directories, which
// Stop removes. Start at servers.go.
package upstream
