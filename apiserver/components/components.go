package components

import (
	"context"
	"fmt"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/internalversion"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/utils/ptr"

	"github.com/skiffcluster/skiff/api/print"
)

// leaders are the components that lead by a lease, in the order listed, by the
// name that Kubernetes gives them and the one of their lease.
var leaders = []struct{ name, lease string }{
	{"scheduler", "kube-scheduler"},
	{"controller-manager", "kube-controller-manager"},
}

const etcd = "etcd-0"

// Status is the REST storage of component statuses.
type Status struct {
	// Etcd says what is wrong with the data.
	Etcd func(context.Context) error
	// Lease reads a lease of kube-system. A component without one, which runs
	// in the process of this server, is not listed.
	Lease func(ctx context.Context, name string) (*coordinationv1.Lease, error)
}

func (s *Status) New() runtime.Object     { return &corev1.ComponentStatus{} }
func (s *Status) NewList() runtime.Object { return &corev1.ComponentStatusList{} }
func (s *Status) Destroy()                {}
func (s *Status) NamespaceScoped() bool   { return false }
func (s *Status) GetSingularName() string { return "componentstatus" }
func (s *Status) ShortNames() []string    { return []string{"cs"} }

// Get implements rest.Getter.
func (s *Status) Get(ctx context.Context, name string, _ *metav1.GetOptions) (runtime.Object, error) {
	all := s.all(ctx)
	for i := range all {
		if all[i].Name == name {
			return &all[i], nil
		}
	}
	return nil, apierrors.NewNotFound(schema.GroupResource{Resource: "componentstatus"}, name)
}

// List implements rest.Lister.
func (s *Status) List(ctx context.Context, o *internalversion.ListOptions) (runtime.Object, error) {
	list := &corev1.ComponentStatusList{Items: []corev1.ComponentStatus{}}
	for _, c := range s.all(ctx) {
		if o != nil && o.FieldSelector != nil && !o.FieldSelector.Matches(fields.Set{"metadata.name": c.Name}) ||
			o != nil && o.LabelSelector != nil && !o.LabelSelector.Matches(labels.Set(c.Labels)) {
			continue
		}
		list.Items = append(list.Items, c)
	}
	return list, nil
}

// ConvertToTable implements rest.TableConvertor.
func (s *Status) ConvertToTable(_ context.Context, obj, options runtime.Object) (*metav1.Table, error) {
	t := &metav1.Table{Rows: []metav1.TableRow{}}
	if o, ok := options.(*metav1.TableOptions); !ok || !o.NoHeaders {
		t.ColumnDefinitions = []metav1.TableColumnDefinition{
			{Name: "Name", Type: "string", Format: "name", Description: print.NameDoc()},
			{Name: "Status", Type: "string", Description: "Status of the component conditions"},
			{Name: "Message", Type: "string", Description: "Message of the component conditions"},
			{Name: "Error", Type: "string", Description: "Error of the component conditions"},
		}
	}
	items := []corev1.ComponentStatus{}
	switch o := obj.(type) {
	case *corev1.ComponentStatus:
		items = append(items, *o)
	case *corev1.ComponentStatusList:
		items = o.Items
	default:
		return nil, fmt.Errorf("print component status: unexpected %T", obj)
	}
	for i := range items {
		row := []any{items[i].Name, "Unknown", "", ""}
		for _, c := range items[i].Conditions {
			if c.Type != corev1.ComponentHealthy {
				continue
			}
			row[1], row[2], row[3] = "Unhealthy", c.Message, c.Error
			if c.Status == corev1.ConditionTrue {
				row[1] = "Healthy"
			}
		}
		t.Rows = append(t.Rows, metav1.TableRow{Cells: row, Object: runtime.RawExtension{Object: &items[i]}})
	}
	return t, nil
}

func (s *Status) all(ctx context.Context) []corev1.ComponentStatus {
	var out []corev1.ComponentStatus
	for _, l := range leaders {
		lease, err := s.Lease(ctx, l.lease)
		if apierrors.IsNotFound(err) {
			continue
		}
		if err == nil {
			err = held(lease, time.Now())
		}
		out = append(out, status(l.name, err))
	}
	return append(out, status(etcd, s.Etcd(ctx)))
}

// held says why nobody leads.
func held(l *coordinationv1.Lease, now time.Time) error {
	holder := ptr.Deref(l.Spec.HolderIdentity, "")
	if holder == "" || l.Spec.RenewTime == nil {
		return fmt.Errorf("nobody holds the lease %s/%s", l.Namespace, l.Name)
	}
	end := l.Spec.RenewTime.Add(time.Duration(ptr.Deref(l.Spec.LeaseDurationSeconds, 0)) * time.Second)
	if now.After(end) {
		return fmt.Errorf("%s has not renewed the lease %s/%s since %s", holder, l.Namespace, l.Name, l.Spec.RenewTime.UTC().Format(time.RFC3339))
	}
	return nil
}

func status(name string, err error) corev1.ComponentStatus {
	c := corev1.ComponentCondition{Type: corev1.ComponentHealthy, Status: corev1.ConditionTrue, Message: "ok"}
	if err != nil {
		c.Status, c.Message = corev1.ConditionFalse, err.Error()
	}
	return corev1.ComponentStatus{ObjectMeta: metav1.ObjectMeta{Name: name}, Conditions: []corev1.ComponentCondition{c}}
}
