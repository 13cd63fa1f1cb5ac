//go:build linux

package volume_test

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	clocktesting "k8s.io/utils/clock/testing"

	"github.com/skiffcluster/skiff/cluster/clustertest"
	"github.com/skiffcluster/skiff/nodeagent/volume"
	"github.com/skiffcluster/skiff/nodeagent/volume/objects"
)

func TestTokensAreRenewedAt80PercentOfTheirLife(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs root to mount")
	}
	c := clustertest.APIServer(t)
	if err := c.Client().Create(t.Context(), &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "robot"}}); err != nil {
		t.Fatal(err)
	}
	pod := podWith(corev1.Volume{Name: "v", VolumeSource: corev1.VolumeSource{Projected: &corev1.ProjectedVolumeSource{
		Sources: []corev1.VolumeProjection{{ServiceAccountToken: &corev1.ServiceAccountTokenProjection{Path: "token", ExpirationSeconds: ptr(int64(1000))}}},
	}}})
	pod.Namespace, pod.UID = "default", ""
	pod.Spec.ServiceAccountName = "robot"
	pod.Spec.AutomountServiceAccountToken = ptr(false)
	pod.Spec.Containers[0].Image = "x"
	pod.Spec.SecurityContext = &corev1.PodSecurityContext{RunAsUser: ptr(int64(1234))}
	if err := c.Client().Create(t.Context(), pod); err != nil {
		t.Fatal(err)
	}

	clock := clocktesting.NewFakeClock(time.Now())
	cache, err := objects.New(objects.Config{REST: c.RESTConfig()})
	if err != nil {
		t.Fatal(err)
	}
	v, err := volume.New(volume.Config{DataDir: t.TempDir(), REST: c.RESTConfig(), Objects: cache, Clock: clock})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 2)
	go func() { done <- v.Run(ctx) }()
	go func() { done <- cache.Run(ctx) }()
	defer func() {
		cancel()
		<-done
		<-done
		if err := v.Teardown(pod.UID); err != nil {
			t.Error(err)
		}
	}()
	if err := v.Prepare(ctx, pod); err != nil {
		t.Fatal(err)
	}
	dir, err := v.Path(ctx, pod, "v")
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "token")
	read := func() string {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		return string(data)
	}
	first := read()
	if strings.Count(first, ".") != 2 {
		t.Errorf("%q is no token", first)
	}
	if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v (%v)", info.Mode(), err)
	}
	eventually(t, "Run waits for the time", clock.HasWaiters)
	clock.Step(790 * time.Second)
	if err := v.Prepare(ctx, pod); err != nil { // as after a restart of a container
		t.Fatal(err)
	}
	if read() != first {
		t.Error("renewed before 80 % of its life")
	}
	clock.Step(20 * time.Second)
	// A timer that was set while the clock stepped rings later.
	eventually(t, "the token is another", func() bool { clock.Step(time.Second); return read() != first })
}

func TestClaims(t *testing.T) {
	c := clustertest.APIServer(t)
	cache, err := objects.New(objects.Config{REST: c.RESTConfig()})
	if err != nil {
		t.Fatal(err)
	}
	v, err := volume.New(volume.Config{DataDir: t.TempDir(), REST: c.RESTConfig(), Objects: cache, Unprivileged: true})
	if err != nil {
		t.Fatal(err)
	}
	data := t.TempDir()
	pod := podWith(corev1.Volume{Name: "v", VolumeSource: corev1.VolumeSource{PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: "data"}}})
	pod.Namespace = "default"
	fails := func(want string) {
		t.Helper()
		failures := volume.Failures(v.Prepare(t.Context(), pod))
		if len(failures) != 1 || !strings.Contains(failures[0].Message, want) {
			t.Errorf("got %v, want %q", failures, want)
		}
	}
	fails(`Unable to attach or mount volumes: unmounted volumes=[v], unattached volumes=[], failed to process volumes=[v]: error processing PVC default/data: failed to fetch PVC from API server: persistentvolumeclaims "data" not found`)

	size := corev1.ResourceList{corev1.ResourceStorage: resource.MustParse("1Gi")}
	claim := &corev1.PersistentVolumeClaim{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "data"},
		Spec: corev1.PersistentVolumeClaimSpec{
			AccessModes: []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce}, VolumeName: "pv",
			Resources: corev1.VolumeResourceRequirements{Requests: size},
		},
	}
	if err := c.Client().Create(t.Context(), claim); err != nil {
		t.Fatal(err)
	}
	fails("error processing PVC default/data: PVC is not bound")

	if err := c.Client().Create(t.Context(), &corev1.PersistentVolume{
		ObjectMeta: metav1.ObjectMeta{Name: "pv"},
		Spec: corev1.PersistentVolumeSpec{
			AccessModes: claim.Spec.AccessModes, Capacity: size,
			ClaimRef:               &corev1.ObjectReference{Kind: "PersistentVolumeClaim", Namespace: "default", Name: "data", UID: claim.UID},
			PersistentVolumeSource: corev1.PersistentVolumeSource{HostPath: &corev1.HostPathVolumeSource{Path: data}},
		},
	}); err != nil {
		t.Fatal(err)
	}
	claim.Status.Phase = corev1.ClaimBound
	if err := c.Client().Status().Update(t.Context(), claim); err != nil {
		t.Fatal(err)
	}
	if err := v.Prepare(t.Context(), pod); err != nil {
		t.Fatal(err)
	}
	mounts, err := v.Mounts(t.Context(), pod, &pod.Spec.Containers[0], nil)
	if err != nil || mounts[0].Source != data || mounts[0].ReadOnly {
		t.Errorf("mounts %+v (%v)", mounts, err)
	}
	if err := v.Teardown(pod.UID); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(data); err != nil {
		t.Errorf("the data is gone with the pod: %v", err)
	}
}
