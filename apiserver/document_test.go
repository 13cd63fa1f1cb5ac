package apiserver_test

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	apiversion "k8s.io/apimachinery/pkg/version"
	"k8s.io/client-go/discovery"

	"github.com/skiffcluster/skiff/apiserver"
)

// served lists what a server's discovery tells, by group and version.
func served(t *testing.T, c apiserver.Config) []*metav1.APIResourceList {
	t.Helper()
	d, err := discovery.NewDiscoveryClientForConfig(start(t, c).admin())
	if err != nil {
		t.Fatal(err)
	}
	_, lists, err := d.ServerGroupsAndResources()
	if err != nil {
		t.Fatal(err)
	}
	slices.SortFunc(lists, func(a, b *metav1.APIResourceList) int {
		x, y := version(a), version(b)
		return cmp.Or(strings.Compare(x.Group, y.Group), apiversion.CompareKubeAwareVersionStrings(y.Version, x.Version))
	})
	return lists
}

func version(l *metav1.APIResourceList) schema.GroupVersion {
	gv, err := schema.ParseGroupVersion(l.GroupVersion)
	if err != nil {
		return schema.GroupVersion{Group: l.GroupVersion}
	}
	return gv
}

// TestDocumentOfKinds writes docs/kinds.md from discovery, with -update, or
// sees that it is up to date; hack/update-kinds.sh calls it.
func TestDocumentOfKinds(t *testing.T) {
	t.Parallel()
	byDefault := map[string]bool{}
	for _, l := range served(t, apiserver.Config{}) {
		byDefault[l.GroupVersion] = true
	}
	var b strings.Builder
	fmt.Fprintf(&b, `# Kinds

What the API server of %s serves, written by hack/update-kinds.sh from the
discovery of a running server. Versions marked with * are alphas and betas: as
on Kubernetes they are off until `+"`--runtime-config`"+` switches them on, for example
`+"`--runtime-config=api/beta=true`"+`. Custom resources and aggregated APIs come on top.

`+"`make compare`"+` holds each of these kinds beside kube-apiserver: 65,000 requests
that create, change, print, select, patch, apply and delete objects of the kind,
most with one field that is wrong, and what discovery, OpenAPI, describe
and explain say of it. What differs on purpose is in test/compare/meant.go.

`, apiserver.Version)
	for _, l := range served(t, apiserver.Config{RuntimeConfig: map[string]string{"api/all": "true"}}) {
		mark := ""
		if !byDefault[l.GroupVersion] {
			mark = " *"
		}
		fmt.Fprintf(&b, "## %s%s\n\n| Kind | Resource | Short names | Namespaced | Verbs |\n|---|---|---|---|---|\n", l.GroupVersion, mark)
		resources := slices.Clone(l.APIResources)
		slices.SortFunc(resources, func(a, b metav1.APIResource) int { return strings.Compare(a.Name, b.Name) })
		for _, r := range resources {
			namespaced := "no"
			if r.Namespaced {
				namespaced = "yes"
			}
			verbs := slices.Sorted(slices.Values(r.Verbs))
			fmt.Fprintf(&b, "| %s | %s | %s | %s | %s |\n", r.Kind, r.Name, strings.Join(r.ShortNames, ", "), namespaced, strings.Join(verbs, ", "))
		}
		b.WriteString("\n")
	}
	golden(t, "../docs/kinds.md", strings.TrimSuffix(b.String(), "\n"))
}
