package apiserver

import (
	"context"
	"fmt"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/apis/meta/internalversion"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/apiserver/pkg/endpoints/request"
	"k8s.io/client-go/tools/cache"
)

// Settle waits until the rights and the webhooks that are stored now are in
// force: the server learns of them by watches, a moment after they are stored.
func (s *Server) Settle(ctx context.Context) error {
	ctx = request.WithNamespace(ctx, metav1.NamespaceAll)
	for _, p := range s.presences {
		objs, err := s.stored(ctx, p.resource)
		if err != nil {
			return err
		}
		if len(objs) == 0 {
			continue
		}
		select {
		case <-p.some:
		case <-ctx.Done():
			return fmt.Errorf("wait for %s to be in force: %w", p.resource, context.Cause(ctx))
		}
	}
	rbac := s.informers.Rbac().V1()
	for resource, informer := range map[string]cache.SharedIndexInformer{
		"roles": rbac.Roles().Informer(), "rolebindings": rbac.RoleBindings().Informer(),
		"clusterroles": rbac.ClusterRoles().Informer(), "clusterrolebindings": rbac.ClusterRoleBindings().Informer(),
	} {
		gr := schema.GroupResource{Group: "rbac.authorization.k8s.io", Resource: resource}
		objs, err := s.stored(ctx, gr)
		if err != nil {
			return err
		}
		err = wait.PollUntilContextCancel(ctx, time.Millisecond, true, func(context.Context) (bool, error) { return holds(informer.GetStore(), objs) })
		if err != nil {
			return fmt.Errorf("wait for %s to be in force: %w", gr, err)
		}
	}
	return nil
}

func (s *Server) stored(ctx context.Context, gr schema.GroupResource) ([]runtime.Object, error) {
	list, err := s.storeOf(gr.Group, gr.Resource).List(ctx, &internalversion.ListOptions{})
	if err != nil {
		return nil, fmt.Errorf("list %s: %w", gr, err)
	}
	return meta.ExtractList(list)
}

// holds says whether a cache has objects, or newer ones.
func holds(in cache.Store, objs []runtime.Object) (bool, error) {
	for _, o := range objs {
		have, ok, err := in.Get(o)
		if err != nil || !ok {
			return false, err
		}
		a, err := meta.Accessor(o)
		if err != nil {
			return false, err
		}
		b, err := meta.Accessor(have)
		if err != nil {
			return false, err
		}
		if older(b.GetResourceVersion(), a.GetResourceVersion()) {
			return false, nil
		}
	}
	return true, nil
}

// older compares resourceVersions, which are numbers.
func older(a, b string) bool { return len(a) < len(b) || len(a) == len(b) && a < b }
