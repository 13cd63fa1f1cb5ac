package aggregation

import (
	"context"
	"fmt"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime/schema"
	apiregistrationv1 "k8s.io/kube-aggregator/pkg/apis/apiregistration/v1"
	"k8s.io/kube-aggregator/pkg/apis/apiregistration/v1/helper"
	"k8s.io/kube-aggregator/pkg/controllers/autoregister"
)

// Values of the label that says how the server manages an APIService: written
// at its start, or kept as it is to be. One without the label is a user's.
const (
	atStart = "onstart"
	always  = "true"
)

// Priorities of every group of custom resources: behind all built-in ones.
const (
	customGroup   = 1000
	customVersion = 100
)

// Local is the APIService of a built-in group and version; ok is false for
// one that has none, which is the group of APIServices itself.
func Local(gv schema.GroupVersion) (s *apiregistrationv1.APIService, ok bool) {
	p, ok := PriorityOf(gv)
	if !ok {
		return nil, false
	}
	return managed(gv, p, atStart), true
}

func managed(gv schema.GroupVersion, p Priority, how string) *apiregistrationv1.APIService {
	return &apiregistrationv1.APIService{
		ObjectMeta: metav1.ObjectMeta{Name: gv.Version + "." + gv.Group, Labels: map[string]string{autoregister.AutoRegisterManagedLabel: how}},
		Spec: apiregistrationv1.APIServiceSpec{
			Group: gv.Group, Version: gv.Version, GroupPriorityMinimum: p.Group, VersionPriority: p.Version,
		},
	}
}

// Managed says whether an APIService is the server's own and no user's.
func Managed(s *apiregistrationv1.APIService) bool {
	return s.Labels[autoregister.AutoRegisterManagedLabel] != ""
}

// custom is the APIService of a group and version of custom resources, nil
// when no definition serves it.
func custom(gv schema.GroupVersion, definitions []*apiextensionsv1.CustomResourceDefinition) *apiregistrationv1.APIService {
	for _, d := range definitions {
		if d.Spec.Group != gv.Group {
			continue
		}
		for _, v := range d.Spec.Versions {
			if v.Name == gv.Version && v.Served {
				return managed(gv, Priority{customGroup, customVersion}, always)
			}
		}
	}
	return nil
}

// change is what is to be done about one APIService.
type change int

const (
	nothing change = iota
	create
	update
	remove
)

// plan says how to bring an APIService (nil: there is none) to what is wanted
// of it (nil: nothing). Those of users are left alone, and so are those that
// were written at the start: a user may delete them.
func plan(want, have *apiregistrationv1.APIService) change {
	switch {
	case have == nil && want == nil:
		return nothing
	case have == nil:
		return create
	case have.Labels[autoregister.AutoRegisterManagedLabel] != always:
		return nothing
	case want == nil:
		return remove
	case have.Spec.Service != nil || have.Spec.GroupPriorityMinimum != want.Spec.GroupPriorityMinimum ||
		have.Spec.VersionPriority != want.Spec.VersionPriority || len(have.Spec.CABundle) > 0 || have.Spec.InsecureSkipTLSVerify:
		return update
	}
	return nothing
}

// register keeps the APIService of one group of custom resources.
func (a *Aggregator) register(ctx context.Context, name string) error {
	gv := helper.APIServiceNameToGroupVersion(name)
	if _, ok := PriorityOf(gv); ok || gv.Group == apiregistrationv1.GroupName {
		return nil
	}
	definitions, err := a.config.Definitions.Lister().List(labels.Everything())
	if err != nil {
		return err
	}
	want := custom(gv, definitions)
	services := a.client.ApiregistrationV1().APIServices()
	have, err := services.Get(ctx, name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		have, err = nil, nil
	}
	if err != nil {
		return fmt.Errorf("read APIService %s: %w", name, err)
	}
	switch plan(want, have) {
	case create:
		_, err = services.Create(ctx, want, metav1.CreateOptions{})
		if apierrors.IsAlreadyExists(err) {
			err = nil // its event brings us back
		}
	case update:
		changed := have.DeepCopy()
		changed.Spec = want.Spec
		_, err = services.Update(ctx, changed, metav1.UpdateOptions{})
	case remove:
		err = services.Delete(ctx, name, metav1.DeleteOptions{Preconditions: metav1.NewUIDPreconditions(string(have.UID))})
	case nothing:
	}
	if apierrors.IsNotFound(err) || apierrors.IsConflict(err) {
		err = nil // as above
	}
	if err != nil {
		return fmt.Errorf("write APIService %s: %w", name, err)
	}
	return nil
}

// sweep removes APIServices that an earlier start wrote and that are of
// groups no longer served.
func (a *Aggregator) sweep(ctx context.Context, s *apiregistrationv1.APIService) error {
	gv := schema.GroupVersion{Group: s.Spec.Group, Version: s.Spec.Version}
	if s.Labels[autoregister.AutoRegisterManagedLabel] != atStart || a.served[gv] {
		return nil
	}
	err := a.client.ApiregistrationV1().APIServices().Delete(ctx, s.Name, metav1.DeleteOptions{Preconditions: metav1.NewUIDPreconditions(string(s.UID))})
	if err != nil && !apierrors.IsNotFound(err) && !apierrors.IsConflict(err) {
		return fmt.Errorf("remove APIService %s: %w", s.Name, err)
	}
	return nil
}
