//go:build !linux

package network

import (
	"errors"
	"net/netip"
)

// BridgeConfig configures Bridge.
type BridgeConfig struct {
	Dir          string
	Name         string
	MTU          int
	ClusterCIDRs []netip.Prefix
}

// Bridge exists on Linux only.
type Bridge struct{ *None }

// NewBridge always fails.
func NewBridge(BridgeConfig) (*Bridge, error) {
	return nil, errors.New("the built-in pod network needs Linux")
}

// Name of the bridge.
func (b *Bridge) Name() string { return "" }

// Close does nothing.
func (b *Bridge) Close() {}

// Remove does nothing.
func (b *Bridge) Remove() error { return nil }

// SetLoopbackUp always fails.
func SetLoopbackUp(string) error { return errors.New("network namespaces need Linux") }
