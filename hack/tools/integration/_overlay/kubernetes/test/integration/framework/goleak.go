package framework

import (
	"testing"

	"go.uber.org/goleak"
)

// IgnoreBackgroundGoroutines is of Kubernetes' check for goroutines that a
// server in the test's process leaves. Here it is a process of its own.
func IgnoreBackgroundGoroutines() []goleak.Option { return nil }

// GoleakCheck checks nothing: see IgnoreBackgroundGoroutines.
func GoleakCheck(testing.TB, ...goleak.Option) {}

func goleakFindRetry(...goleak.Option) error { return nil }
