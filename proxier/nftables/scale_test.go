package nftables_test

import (
	"fmt"
	"net/netip"
	"syscall"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/skiffcluster/skiff/internal/netns/netnstest"
	"github.com/skiffcluster/skiff/proxier/backend"
	"github.com/skiffcluster/skiff/proxier/model"
	"github.com/skiffcluster/skiff/proxier/nftables"
)

const bigServices, bigEndpoints = 10_000, 10

func bigService(i, endpoints int) *model.Service {
	p := model.Port{Name: "web", Protocol: corev1.ProtocolTCP, Family: corev1.IPv4Protocol}
	for j := range endpoints {
		a := netip.AddrFrom4([4]byte{10, 128 + byte(j), byte(i >> 8), byte(i)})
		p.Cluster = append(p.Cluster, model.Endpoint{AddrPort: netip.AddrPortFrom(a, 8080)})
	}
	p.Frontends = []model.Frontend{{Kind: model.ClusterIP, Addr: netip.AddrFrom4([4]byte{10, 96, byte(i >> 8), byte(i)}), Port: 80}}
	return &model.Service{Key: fmt.Sprintf("default/s%d", i), Ports: []model.Port{p}}
}

// openInNewNS opens the backend in a network namespace of its own.
func openInNewNS(t testing.TB) (*nftables.Backend, backend.Config) {
	t.Helper()
	cfg := backend.Config{NetNS: netnstest.New(t)}
	b, err := nftables.Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = b.Close() })
	return b, cfg
}

func cpuTime() time.Duration {
	var u syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func TestTenThousandServicesAreWrittenAndChecked(t *testing.T) {
	b, cfg := openInNewNS(t)
	var all []model.Change
	for i := range bigServices {
		s := bigService(i, bigEndpoints)
		all = append(all, model.Change{Key: s.Key, Service: s})
	}
	ctx := t.Context()
	step := func(what string, f func() error) {
		began, cpu := time.Now(), cpuTime()
		if err := f(); err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		t.Logf("%s: %v, %v of CPU", what, time.Since(began), cpuTime()-cpu)
	}
	step("first sync", func() error { return b.Apply(ctx, all) })
	step("one endpoint changed", func() error {
		s := bigService(17, bigEndpoints-1)
		return b.Apply(ctx, []model.Change{{Key: s.Key, Service: s}})
	})
	repaired := 0
	step("check of what nobody changed", func() (err error) { repaired, err = b.Check(ctx); return err })
	if repaired != 0 {
		t.Errorf("repaired %d things, want none", repaired)
	}
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	again, err := nftables.Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = again.Close() }()
	step("restart: full comparison with the kernel", func() error { return again.Apply(ctx, all) })
}

func BenchmarkOneEndpointChanged(b *testing.B) {
	backend, _ := openInNewNS(b)
	var all []model.Change
	for i := range bigServices {
		s := bigService(i, bigEndpoints)
		all = append(all, model.Change{Key: s.Key, Service: s})
	}
	ctx := b.Context()
	if err := backend.Apply(ctx, all); err != nil {
		b.Fatal(err)
	}
	n := 0
	for b.Loop() {
		n++
		s := bigService(n%bigServices, bigEndpoints-n%2)
		if err := backend.Apply(ctx, []model.Change{{Key: s.Key, Service: s}}); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkFirstSync(b *testing.B) {
	var all []model.Change
	for i := range bigServices {
		s := bigService(i, bigEndpoints)
		all = append(all, model.Change{Key: s.Key, Service: s})
	}
	var spent time.Duration
	for b.Loop() {
		backend, _ := openInNewNS(b)
		cpu := cpuTime()
		if err := backend.Apply(b.Context(), all); err != nil {
			b.Fatal(err)
		}
		spent += cpuTime() - cpu
	}
	b.ReportMetric(float64(spent.Milliseconds())/float64(b.N), "cpu-ms/op")
}
