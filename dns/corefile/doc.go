// Package corefile turns a Corefile into a chain of CoreDNS's plugins, linked
// as a library, in which `kubernetes` is ours.
//
// It reads the Corefile and what that names (files of the node, upstream
// servers), and writes answers. Start at Load, then Chain.ServeDNS. plugins.go
// is the list of plugins: CoreDNS's own, those that the node stands in for, and
// those refused with the reason.
//
// CoreDNS starts and stops by caddy, which opens sockets itself and replaces
// them at a reload. Here only the plugins' own setup is used: the node listens,
// and each query is answered by the chain in force. So a reload loses no query,
// and many servers run in one process, each in a network namespace of its own.
package corefile
