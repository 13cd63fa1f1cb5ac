package ipvs_test

import (
	"testing"
	"time"

	moby "github.com/moby/ipvs"

	"github.com/skiffcluster/skiff/proxier/backend"
	"github.com/skiffcluster/skiff/proxier/backend/backendtest"
	"github.com/skiffcluster/skiff/proxier/ipvs"
)

var options = backendtest.Options{
	Open: func(t testing.TB, cfg backend.Config) backend.Backend {
		b, err := ipvs.Open(ipvs.Config{Config: cfg})
		if err != nil {
			t.Fatal(err)
		}
		return b
	},
	Sabotage: func(t testing.TB) {
		if err := ipvs.Cleanup(""); err != nil {
			t.Fatal(err)
		}
	},
	Shorten: func(t testing.TB) {
		h, err := moby.New("")
		if err != nil {
			t.Fatal(err)
		}
		defer h.Close()
		if err := h.SetConfig(&moby.Config{TimeoutUDP: time.Second}); err != nil {
			t.Fatal(err)
		}
	},
}

func TestBackend(t *testing.T) {
	needsIPVS(t)
	backendtest.Run(t, options)
}

func BenchmarkService(b *testing.B) {
	needsIPVS(b)
	backendtest.Benchmark(b, options)
}

func needsIPVS(t testing.TB) {
	t.Helper()
	if !ipvs.Available() {
		t.Skip("this kernel has no IPVS; hack/ipvs-kernel/test.sh runs these tests in one that has")
	}
}
