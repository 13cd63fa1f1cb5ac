//go:build !unix

package probe

func setLinger(uintptr) error { return nil }
