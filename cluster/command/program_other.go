//go:build !linux

package command

import "time"

// releaseProgram is for Linux.
func releaseProgram() error { return nil }

// machineMemory is not known here: a process keeps to the least allowance.
func machineMemory() uint64 { return 0 }

// setTimerSlack is for Linux.
func setTimerSlack(time.Duration) error { return nil }
