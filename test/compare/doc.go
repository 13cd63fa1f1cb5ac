// Command compare holds `skiff server` beside Kubernetes' own kube-apiserver,
// as hack/upstream.sh builds it: what they serve, print, keep, change and
// refuse, for every built-in kind. `make compare` runs it.
//
// corpus holds objects of every kind, and corpus/wide further ones that have all
// that their kinds can have. Each is created on both servers, changed
// in every field that it has, also to what no server takes, printed, patched,
// applied and deleted, and all that the two answer must be the same but for
// what is another on each server (normalize.go) and what is meant (meant.go).
//
// Reads corpus and both servers; writes to servers of its own. Start at main.go,
// then objects.go.
package main
