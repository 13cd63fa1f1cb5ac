// Package kubernetes is the plugin of that name in a chain of CoreDNS's
// plugins: it answers for the cluster from records.Zone instead of watches of
// its own.
//
// It reads queries and the options of its stanza in a Corefile, which are
// CoreDNS's (https://coredns.io/plugins/kubernetes/), and writes answers. Start
// at Parse, then Plugin.ServeDNS.
package kubernetes
