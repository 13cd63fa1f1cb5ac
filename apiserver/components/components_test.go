package components_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/internalversion"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/utils/ptr"

	"github.com/skiffcluster/skiff/apiserver/components"
)

func lease(name, holder string, ago time.Duration) *coordinationv1.Lease {
	return &coordinationv1.Lease{
		ObjectMeta: metav1.ObjectMeta{Namespace: "kube-system", Name: name},
		Spec: coordinationv1.LeaseSpec{
			HolderIdentity: &holder, LeaseDurationSeconds: ptr.To[int32](15), RenewTime: &metav1.MicroTime{Time: time.Now().Add(-ago)},
		},
	}
}

func TestComponents(t *testing.T) {
	for _, c := range []struct {
		name   string
		etcd   error
		leases []*coordinationv1.Lease
		want   string
	}{
		{"in one process there is etcd", nil, nil, "etcd-0 Healthy ok"},
		{"etcd fails", errors.New("read from etcd: no leader"), nil, "etcd-0 Unhealthy read from etcd: no leader"},
		{
			"leaders renew their leases", nil, []*coordinationv1.Lease{lease("kube-scheduler", "a", 0), lease("kube-controller-manager", "a", time.Hour)},
			"scheduler Healthy ok\ncontroller-manager Unhealthy a has not renewed the lease kube-system/kube-controller-manager since",
		},
		{"nobody leads", nil, []*coordinationv1.Lease{lease("kube-scheduler", "", 0)}, "scheduler Unhealthy nobody holds the lease kube-system/kube-scheduler"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := &components.Status{
				Etcd: func(context.Context) error { return c.etcd },
				Lease: func(_ context.Context, name string) (*coordinationv1.Lease, error) {
					for _, l := range c.leases {
						if l.Name == name {
							return l, nil
						}
					}
					return nil, apierrors.NewNotFound(schema.GroupResource{Resource: "leases"}, name)
				},
			}
			list, err := s.List(t.Context(), &internalversion.ListOptions{})
			if err != nil {
				t.Fatal(err)
			}
			table, err := s.ConvertToTable(t.Context(), list, nil)
			if err != nil {
				t.Fatal(err)
			}
			var got string
			for _, r := range table.Rows {
				got += fmt.Sprintln(r.Cells[0], r.Cells[1], r.Cells[2])
			}
			if !strings.HasPrefix(got, c.want) {
				t.Errorf("Got %q, want %q.", got, c.want)
			}
			one, err := s.List(t.Context(), &internalversion.ListOptions{FieldSelector: fields.OneTermEqualSelector("metadata.name", "etcd-0")})
			if err != nil || len(one.(*corev1.ComponentStatusList).Items) != 1 {
				t.Errorf("By its name: %v, %v.", one, err)
			}
			if _, err := s.Get(t.Context(), "none", nil); !apierrors.IsNotFound(err) {
				t.Errorf("None: %v.", err)
			}
		})
	}
}
