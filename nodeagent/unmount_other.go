//go:build !linux

package nodeagent

// unmountBelow: nothing is mounted here.
func unmountBelow(string) error { return nil }
