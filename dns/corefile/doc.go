// Package corefile reads the part of CoreDNS's configuration that skiff has:
// server blocks with kubernetes, forward, hosts, rewrite, cache and log. It is
// pure; start at Parse. A plugin or option that is missing here is an error
// that names it, never ignored.
//
// Syntax and meaning are CoreDNS's (https://coredns.io/manual/configuration/,
// https://coredns.io/plugins/).
package corefile
