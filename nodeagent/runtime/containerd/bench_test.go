//go:build linux

package containerd_test

import (
	"context"
	"testing"
	"time"

	"github.com/google/uuid"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/skiffcluster/skiff/nodeagent/runtime"
	"github.com/skiffcluster/skiff/nodeagent/runtime/runtimetest"
)

// BenchmarkPod makes and removes a pod of one container without network; it
// reports what each part takes.
func BenchmarkPod(b *testing.B) {
	n := newNode(b)
	rt, _ := n.open(b)
	ctx := context.Background()
	if _, err := rt.ImportImages(ctx, runtimetest.Image(b, runtimetest.ImageName)); err != nil {
		b.Fatal(err)
	}
	parts := map[string]time.Duration{}
	part := func(name string, f func() error) {
		began := time.Now()
		if err := f(); err != nil {
			b.Fatalf("%s: %v", name, err)
		}
		parts[name] += time.Since(began)
	}
	for b.Loop() {
		uid := types.UID(uuid.NewString())
		var id string
		part("sandbox", func() error {
			_, err := rt.EnsureSandbox(ctx, runtime.SandboxSpec{ID: string(uid), UID: uid, Hostname: "pod", QOS: corev1.PodQOSBestEffort})
			return err
		})
		part("create", func() (err error) {
			id, err = rt.Create(ctx, runtime.ContainerSpec{SandboxID: string(uid), Name: "main", Kind: runtime.Regular, Image: runtimetest.ImageName})
			return err
		})
		part("start", func() error { return rt.Start(ctx, id) })
		part("kill", func() error { return rt.Kill(ctx, id) })
		part("remove", func() error { return rt.Remove(ctx, id) })
		part("remove-sandbox", func() error { return rt.RemoveSandbox(ctx, string(uid)) })
	}
	for name, total := range parts {
		b.ReportMetric(float64(total.Microseconds())/float64(b.N)/1000, name+"-ms/op")
	}
}
