package crd

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"sync"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	utilversion "k8s.io/apimachinery/pkg/version"
	genericapiserver "k8s.io/apiserver/pkg/server"
	"k8s.io/client-go/tools/cache"
)

// groups keeps the groups of established definitions in the plain /apis list.
// The aggregated form of discovery is kept by the library.
type groups struct {
	front *genericapiserver.GenericAPIServer

	mu sync.Mutex
	// served is, for each group, what each definition serves of it, and what the
	// server does itself, under no name.
	served map[string]map[string][]string
}

// newGroups knows the groups that the server has by now.
func newGroups(ctx context.Context, front *genericapiserver.GenericAPIServer) (*groups, error) {
	own, err := front.DiscoveryGroupManager.Groups(ctx, &http.Request{})
	if err != nil {
		return nil, fmt.Errorf("the server's own groups: %w", err)
	}
	g := &groups{front: front, served: map[string]map[string][]string{}}
	for _, group := range own {
		var versions []string
		for _, v := range group.Versions {
			versions = append(versions, v.Version)
		}
		g.served[group.Name] = map[string][]string{"": versions}
	}
	return g, nil
}

var _ cache.ResourceEventHandler = &groups{}

// OnAdd implements cache.ResourceEventHandler.
func (g *groups) OnAdd(obj any, _ bool) { g.update(obj) }

// OnUpdate implements cache.ResourceEventHandler.
func (g *groups) OnUpdate(_, obj any) { g.update(obj) }

// OnDelete implements cache.ResourceEventHandler.
func (g *groups) OnDelete(obj any) {
	if gone, ok := obj.(cache.DeletedFinalStateUnknown); ok {
		obj = gone.Obj
	}
	if crd, ok := obj.(*apiextensionsv1.CustomResourceDefinition); ok {
		g.set(crd.Spec.Group, crd.Name, nil)
	}
}

func (g *groups) update(obj any) {
	if crd, ok := obj.(*apiextensionsv1.CustomResourceDefinition); ok {
		g.set(crd.Spec.Group, crd.Name, versions(crd))
	}
}

// versions are what an established definition serves.
func versions(crd *apiextensionsv1.CustomResourceDefinition) []string {
	established := slices.ContainsFunc(crd.Status.Conditions, func(c apiextensionsv1.CustomResourceDefinitionCondition) bool {
		return c.Type == apiextensionsv1.Established && c.Status == apiextensionsv1.ConditionTrue
	})
	if !established {
		return nil
	}
	var out []string
	for _, v := range crd.Spec.Versions {
		if v.Served {
			out = append(out, v.Name)
		}
	}
	return out
}

func (g *groups) set(group, definition string, versions []string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.served[group] == nil {
		g.served[group] = map[string][]string{}
	}
	if len(versions) == 0 {
		delete(g.served[group], definition)
	} else {
		g.served[group][definition] = versions
	}
	var all []string
	for _, d := range g.served[group] {
		for _, v := range d {
			if !slices.Contains(all, v) {
				all = append(all, v)
			}
		}
	}
	if len(all) == 0 {
		g.front.DiscoveryGroupManager.RemoveGroup(group)
		return
	}
	g.front.DiscoveryGroupManager.AddGroup(describe(group, all))
}

// describe lists versions in the order of Kubernetes: stable ones first.
func describe(group string, versions []string) metav1.APIGroup {
	slices.SortFunc(versions, func(a, b string) int { return -utilversion.CompareKubeAwareVersionStrings(a, b) })
	out := metav1.APIGroup{Name: group}
	for _, v := range versions {
		out.Versions = append(out.Versions, metav1.GroupVersionForDiscovery{GroupVersion: group + "/" + v, Version: v})
	}
	out.PreferredVersion = out.Versions[0]
	return out
}
