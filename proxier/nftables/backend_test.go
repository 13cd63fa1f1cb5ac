package nftables_test

import (
	"testing"

	"github.com/skiffcluster/skiff/proxier/backend"
	"github.com/skiffcluster/skiff/proxier/backend/backendtest"
	"github.com/skiffcluster/skiff/proxier/nftables"
)

var options = backendtest.Options{
	Open: func(t testing.TB, cfg backend.Config) backend.Backend {
		b, err := nftables.Open(cfg)
		if err != nil {
			t.Fatal(err)
		}
		return b
	},
	Sabotage: func(t testing.TB) {
		if err := nftables.Cleanup(""); err != nil {
			t.Fatal(err)
		}
	},
}

func TestBackend(t *testing.T) { backendtest.Run(t, options) }

func BenchmarkService(b *testing.B) { backendtest.Benchmark(b, options) }
