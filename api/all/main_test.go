package all_test

import (
	"testing"

	"github.com/go-logr/logr"
	"k8s.io/klog/v2"
)

// TestMain keeps quiet what the library logs of addresses that are none, of
// which random objects are full.
func TestMain(m *testing.M) {
	klog.SetLogger(logr.Discard())
	m.Run()
}
