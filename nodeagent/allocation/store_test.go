package allocation_test

import (
	"os"
	"path/filepath"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/skiffcluster/skiff/nodeagent/allocation"
)

// pod requests an amount of CPU; none if it is empty.
func pod(uid types.UID, cpu string) *corev1.Pod {
	p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{UID: uid}, Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "a"}, {Name: "b"}}}}
	if cpu != "" {
		p.Spec.Containers[1].Resources.Requests = corev1.ResourceList{corev1.ResourceCPU: resource.MustParse(cpu)}
	}
	return p
}

func cpu(p *corev1.Pod) string { return p.Spec.Containers[1].Resources.Requests.Cpu().String() }

func open(t *testing.T, dir string) *allocation.Store {
	t.Helper()
	s, err := allocation.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func allocate(t *testing.T, s *allocation.Store, p *corev1.Pod) {
	t.Helper()
	if err := s.Allocate(p); err != nil {
		t.Fatal(err)
	}
}

// TestStore runs with a directory, of which another store takes over, and
// without.
func TestStore(t *testing.T) {
	for _, tt := range []struct {
		name string
		dir  func(t *testing.T) string
	}{
		{"on disk", func(t *testing.T) string { return filepath.Join(t.TempDir(), "allocations") }},
		{"in memory", func(*testing.T) string { return "" }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir := tt.dir(t)
			s := open(t, dir)
			again := func() {
				if dir != "" {
					s = open(t, dir)
				}
			}
			allocate(t, s, pod("u", "1"))
			allocate(t, s, pod("best-effort", ""))
			again()
			if s.Has("best-effort") || !s.Has("u") {
				t.Errorf("got %v: only pods with CPU or memory can come to ask for other ones", s.Pods())
			}
			same := pod("u", "1000m")
			if got, differs := s.Apply(same); differs || got != same {
				t.Errorf("the same amount in other words differs: %v", got.Spec)
			}
			more := pod("u", "2")
			if got, differs := s.Apply(more); !differs || cpu(got) != "1" || cpu(more) != "2" {
				t.Errorf("got %s, %t, and the pod itself is %s", cpu(got), differs, cpu(more))
			}
			allocate(t, s, more)
			again()
			if got, differs := s.Apply(more); differs {
				t.Errorf("got %s", cpu(got))
			}
			if err := s.Release("u"); err != nil {
				t.Fatal(err)
			}
			again()
			if got := s.Pods(); len(got) != 0 {
				t.Errorf("left: %v", got)
			}
			if err := s.Release("u"); err != nil {
				t.Errorf("release of what is gone: %v", err)
			}
		})
	}
}

func TestStoreAfterCrash(t *testing.T) {
	dir := t.TempDir()
	allocate(t, open(t, dir), pod("whole", "1"))
	for name, text := range map[string]string{"empty": "", "half.tmp": "{}"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	s := open(t, dir)
	if got := s.Pods(); len(got) != 1 || got[0] != "whole" {
		t.Errorf("got %v", got)
	}
	left, err := os.ReadDir(dir)
	if err != nil || len(left) != 1 {
		t.Errorf("left: %v, %v", left, err)
	}
}
