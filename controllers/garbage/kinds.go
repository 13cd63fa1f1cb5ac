package garbage

import (
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// ignored resources own nothing, are owned by nothing, and are many.
var ignored = map[schema.GroupResource]bool{
	{Group: "", Resource: "events"}:              true,
	{Group: "events.k8s.io", Resource: "events"}: true,
}

// definitions are the resources whose changes change what is served.
var definitions = map[schema.GroupResource]bool{
	{Group: "apiextensions.k8s.io", Resource: "customresourcedefinitions"}: true,
	{Group: "apiregistration.k8s.io", Resource: "apiservices"}:             true,
}

// mapping tells under which resource a kind is served.
type mapping struct {
	resource   schema.GroupVersionResource
	namespaced bool
}

// kinds is what the server serves.
type kinds struct {
	// byKind has every kind in every version: owner references name any.
	byKind map[schema.GroupVersionKind]mapping
	// watched has the resources to watch, each in one version, and their kind.
	watched map[schema.GroupVersionResource]string
}

// planKinds reads discovery. A resource is watched when it can be deleted, in
// the preferred version of its group, or in the first that has it. Groups that
// did not answer keep what is known of them from before.
func planKinds(groups []*metav1.APIGroup, lists []*metav1.APIResourceList, failed map[schema.GroupVersion]error, before kinds) kinds {
	k := kinds{byKind: map[schema.GroupVersionKind]mapping{}, watched: map[schema.GroupVersionResource]string{}}
	byVersion := map[string]*metav1.APIResourceList{}
	for _, list := range lists {
		byVersion[list.GroupVersion] = list
	}
	for _, group := range groups {
		chosen := map[string]schema.GroupVersionResource{}
		for _, version := range versionsInOrder(group) {
			list := byVersion[version.GroupVersion]
			if list == nil {
				continue
			}
			gv := schema.GroupVersion{Group: group.Name, Version: version.Version}
			for _, each := range list.APIResources {
				if strings.Contains(each.Name, "/") {
					continue
				}
				gvr := gv.WithResource(each.Name)
				k.byKind[gv.WithKind(each.Kind)] = mapping{resource: gvr, namespaced: each.Namespaced}
				if _, done := chosen[each.Name]; done || ignored[gvr.GroupResource()] || !canCollect(each.Verbs) {
					continue
				}
				chosen[each.Name] = gvr
				k.watched[gvr] = each.Kind
			}
		}
	}
	for gv := range failed {
		for gvk, m := range before.byKind {
			if gvk.GroupVersion() == gv {
				k.byKind[gvk] = m
			}
		}
		for gvr, kind := range before.watched {
			if gvr.GroupVersion() == gv {
				k.watched[gvr] = kind
			}
		}
	}
	return k
}

// versionsInOrder has the preferred version first.
func versionsInOrder(group *metav1.APIGroup) []metav1.GroupVersionForDiscovery {
	versions := slices.Clone(group.Versions)
	slices.SortStableFunc(versions, func(a, b metav1.GroupVersionForDiscovery) int {
		switch preferred := group.PreferredVersion.Version; {
		case a.Version == b.Version:
			return 0
		case a.Version == preferred:
			return -1
		case b.Version == preferred:
			return 1
		}
		return 0
	})
	return versions
}

func canCollect(verbs metav1.Verbs) bool {
	for _, verb := range []string{"delete", "list", "watch"} {
		if !slices.Contains(verbs, verb) {
			return false
		}
	}
	return true
}
