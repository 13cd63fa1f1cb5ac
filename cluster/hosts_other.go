//go:build !linux

package cluster

import (
	"errors"
	"net/netip"
	"os/exec"
)

var errNoHosts = errors.New("hosts on one machine need Linux")

func ensureHosts(string, *hostsPlan) error   { return errNoHosts }
func takenNetworks() ([]netip.Prefix, error) { return nil, errNoHosts }
func isNamespace(string) bool                { return false }
func onHost(string, func() error) error      { return errNoHosts }
func startOnHost(string, *exec.Cmd) error    { return errNoHosts }
func setHostname(string) error               { return errNoHosts }
func removeHosts(string, *hostsPlan) error   { return errNoHosts }
