//go:build !linux

package command

// releaseProgram is for Linux.
func releaseProgram() error { return nil }

// machineMemory is not known here: a process keeps to the least allowance.
func machineMemory() uint64 { return 0 }
