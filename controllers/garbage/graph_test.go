package garbage

import (
	"fmt"
	"slices"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"
)

var (
	podsResource        = schema.GroupVersionResource{Version: "v1", Resource: "pods"}
	deploymentsResource = schema.GroupVersionResource{Group: "apps", Version: "v1", Resource: "deployments"}
)

// pod makes an object of namespace team that these references own.
func pod(uid string, owners ...metav1.OwnerReference) *object {
	return &object{resource: podsResource, kind: "Pod", namespace: "team", name: uid, uid: types.UID(uid), version: "1", owners: owners}
}

func deployment(uid string, change ...func(*object)) *object {
	o := &object{resource: deploymentsResource, kind: "Deployment", namespace: "team", name: uid, uid: types.UID(uid), version: "1"}
	for _, c := range change {
		c(o)
	}
	return o
}

func foreground(o *object) { o.deleting, o.foregroundMark = true, true }
func orphaning(o *object)  { o.deleting, o.orphanMark = true, true }

func owned(uid string) metav1.OwnerReference {
	return metav1.OwnerReference{APIVersion: "apps/v1", Kind: "Deployment", Name: uid, UID: types.UID(uid)}
}

func blocking(uid string) metav1.OwnerReference {
	reference := owned(uid)
	reference.BlockOwnerDeletion = ptr.To(true)
	return reference
}

func TestGraphEvents(t *testing.T) {
	type event struct {
		observe *object
		forget  string
		now     []types.UID
		later   []types.UID
	}
	for _, c := range []struct {
		name   string
		events []event
	}{
		{"a child of a known owner needs nothing", []event{
			{observe: deployment("d")},
			{observe: pod("p", owned("d"))},
		}},
		{"a child that comes before its owner is looked at later", []event{
			{observe: pod("p", owned("d")), later: []types.UID{"p"}},
			{observe: deployment("d")},
		}},
		{"an owner that goes has its children looked at", []event{
			{observe: deployment("d")},
			{observe: pod("p", owned("d"))},
			{observe: pod("q", owned("d"))},
			{forget: "d", now: []types.UID{"p", "q"}},
		}},
		{"a change of anything but the owners needs nothing", []event{
			{observe: pod("p", owned("d")), later: []types.UID{"p"}},
			{observe: pod("p", owned("d"))},
		}},
		{"a new owner that is unknown is looked at", []event{
			{observe: pod("p")},
			{observe: pod("p", owned("d")), later: []types.UID{"p"}},
		}},
		{"an owner deleted in the foreground is looked at once", []event{
			{observe: deployment("d")},
			{observe: deployment("d", foreground), now: []types.UID{"d"}},
			{observe: deployment("d", foreground)},
		}},
		{"an owner deleted as orphaning is looked at once", []event{
			{observe: deployment("d", orphaning), now: []types.UID{"d"}},
			{observe: deployment("d", orphaning)},
		}},
		{"a child that appears under a waiting owner is looked at", []event{
			{observe: deployment("d", foreground), now: []types.UID{"d"}},
			{observe: pod("p", owned("d")), now: []types.UID{"p"}},
		}},
		{"the last child of a waiting owner has the owner looked at", []event{
			{observe: deployment("d", foreground), now: []types.UID{"d"}},
			{observe: pod("p", blocking("d")), now: []types.UID{"p"}},
			{forget: "p", now: []types.UID{"d"}},
		}},
		{"a child that stops blocking has its waiting owner looked at", []event{
			{observe: deployment("d", foreground), now: []types.UID{"d"}},
			{observe: pod("p", blocking("d")), now: []types.UID{"p"}},
			{observe: pod("p", owned("d")), now: []types.UID{"d", "p"}},
		}},
		{"a child that drops its waiting owner has the owner looked at", []event{
			{observe: deployment("d", foreground), now: []types.UID{"d"}},
			{observe: pod("p", blocking("d")), now: []types.UID{"p"}},
			{observe: pod("p"), now: []types.UID{"d"}},
		}},
		{"a reference with the wrong name is looked at", []event{
			{observe: deployment("d")},
			{observe: pod("p", metav1.OwnerReference{APIVersion: "apps/v1", Kind: "Deployment", Name: "other", UID: "d"}), now: []types.UID{"p"}},
		}},
		{"a reference into another namespace is looked at", []event{
			{observe: deployment("d", func(o *object) { o.namespace = "other" })},
			{observe: pod("p", owned("d")), now: []types.UID{"p"}},
		}},
		{"a reference in another version is the same owner", []event{
			{observe: deployment("d")},
			{observe: pod("p", metav1.OwnerReference{APIVersion: "apps/v1beta2", Kind: "Deployment", Name: "d", UID: "d"})},
		}},
		{"an owner of the cluster may be named from any namespace", []event{
			{observe: deployment("d", func(o *object) { o.namespace = "" })},
			{observe: pod("p", owned("d"))},
		}},
		{"an unknown object that goes is nothing", []event{{forget: "x"}}},
	} {
		t.Run(c.name, func(t *testing.T) {
			g := newGraph()
			for i, e := range c.events {
				var got checks
				if e.observe != nil {
					got = g.observe(e.observe)
				} else {
					_, got = g.forget(types.UID(e.forget))
				}
				slices.Sort(got.now)
				if fmt.Sprint(got) != fmt.Sprint(checks{now: e.now, later: e.later}) {
					t.Errorf("event %d: checks %v, want now %v, later %v", i, got, e.now, e.later)
				}
			}
		})
	}
}

func TestGraphKeepsNothingOfWhatIsGone(t *testing.T) {
	g := newGraph()
	g.observe(deployment("d"))
	g.observe(pod("p", owned("d"), owned("e")))
	g.observe(pod("p", owned("e")))
	if got := g.missing(podsResource, map[types.UID]bool{"q": true}); !slices.Equal(got, []types.UID{"p"}) {
		t.Errorf("missing from a list are %v, want p", got)
	}
	g.forget("p")
	g.forget("d")
	if len(g.objects)+len(g.dependents)+len(g.byResource) != 0 {
		t.Errorf("left are %v, %v, %v", g.objects, g.dependents, g.byResource)
	}
}

func TestPlanItem(t *testing.T) {
	child := pod("c", owned("p"))
	waitingChild := pod("c", owned("p"))
	foreground(waitingChild)
	marked := func(o *object, mark func(*object)) *object {
		mark(o)
		o.deleting = false
		return o
	}
	for _, c := range []struct {
		name       string
		o          *object
		verdicts   []verdict
		dependents []*object
		want       string
	}{
		{"no owners: it stays", pod("p"), nil, nil, "keep"},
		{"an owner that exists: it stays", pod("p", owned("d")), []verdict{solid}, nil, "keep"},
		{"no owner left: it goes", pod("p", owned("d")), []verdict{absent}, nil, "Background"},
		{"one of two owners left: the other is dropped", pod("p", owned("d"), owned("e")), []verdict{absent, solid}, nil, "keep, owners e"},
		{"a waiting owner beside one that stays is dropped", pod("p", owned("d"), blocking("e")), []verdict{solid, waiting}, nil, "keep, owners d"},
		{"a waiting owner, no children: it goes", pod("p", blocking("d")), []verdict{waiting}, nil, "Background"},
		{"a waiting owner and children: it waits for them", pod("p", blocking("d")), []verdict{waiting}, []*object{child}, "Foreground"},
		{"a circle is broken", pod("p", blocking("d")), []verdict{waiting}, []*object{waitingChild}, "Foreground, owners d"},
		{"children without a waiting owner do not matter", pod("p", owned("d")), []verdict{absent}, []*object{child}, "Background"},
		{"all owners have let it go: it stays without them", pod("p", owned("d"), owned("e")), []verdict{released, released}, nil, "keep, owners"},
		{"one has let it go, the other is gone: it goes", pod("p", owned("d"), owned("e")), []verdict{released, absent}, nil, "Background"},
		{"it was to orphan its children: it does", marked(pod("p", owned("d")), orphaning), []verdict{absent}, nil, "Orphan"},
		{"it was to wait for its children: it does", marked(pod("p", owned("d")), foreground), []verdict{absent}, nil, "Foreground"},
	} {
		t.Run(c.name, func(t *testing.T) {
			a := planItem(c.o, c.verdicts, c.dependents)
			got := string(a.delete)
			if got == "" {
				got = "keep"
			}
			if a.setOwners {
				got += ", owners"
				for _, owner := range a.owners {
					got += " " + owner.Name
					if a.delete != "" && ptr.Deref(owner.BlockOwnerDeletion, true) {
						t.Errorf("owner %s is still held up", owner.Name)
					}
				}
			}
			if got != c.want {
				t.Errorf("plan is %q, want %q", got, c.want)
			}
		})
	}
}

func TestPlanForeground(t *testing.T) {
	owner := deployment("d", foreground)
	going := pod("g", blocking("d"))
	going.deleting = true
	for _, c := range []struct {
		name       string
		dependents []*object
		done       bool
		look       []types.UID
	}{
		{"without children it may go", nil, true, nil},
		{"a blocking child is looked at and waited for", []*object{pod("p", blocking("d"))}, false, []types.UID{"p"}},
		{"another child is looked at", []*object{pod("p", owned("d"))}, true, []types.UID{"p"}},
		{"a child on its way is waited for", []*object{going}, false, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			done, look := planForeground(owner, c.dependents)
			if done != c.done || !slices.Equal(look, c.look) {
				t.Errorf("done %v, look at %v; want %v, %v", done, look, c.done, c.look)
			}
		})
	}
}

func TestPlanKinds(t *testing.T) {
	all := metav1.Verbs{"delete", "list", "watch", "get"}
	group := func(name, preferred string, versions ...string) *metav1.APIGroup {
		g := &metav1.APIGroup{Name: name, PreferredVersion: metav1.GroupVersionForDiscovery{Version: preferred}}
		for _, version := range versions {
			gv := schema.GroupVersion{Group: name, Version: version}.String()
			g.Versions = append(g.Versions, metav1.GroupVersionForDiscovery{GroupVersion: gv, Version: version})
		}
		return g
	}
	groups := []*metav1.APIGroup{group("", "v1", "v1"), group("autoscaling", "v2", "v1", "v2")}
	lists := []*metav1.APIResourceList{
		{GroupVersion: "v1", APIResources: []metav1.APIResource{
			{Name: "pods", Kind: "Pod", Namespaced: true, Verbs: all},
			{Name: "pods/status", Kind: "Pod", Namespaced: true, Verbs: metav1.Verbs{"get"}},
			{Name: "events", Kind: "Event", Namespaced: true, Verbs: all},
			{Name: "bindings", Kind: "Binding", Namespaced: true, Verbs: metav1.Verbs{"create"}},
		}},
		{GroupVersion: "autoscaling/v1", APIResources: []metav1.APIResource{
			{Name: "horizontalpodautoscalers", Kind: "HorizontalPodAutoscaler", Namespaced: true, Verbs: all},
			{Name: "old", Kind: "Old", Verbs: all},
		}},
		{GroupVersion: "autoscaling/v2", APIResources: []metav1.APIResource{{Name: "horizontalpodautoscalers", Kind: "HorizontalPodAutoscaler", Namespaced: true, Verbs: all}}},
	}
	k := planKinds(groups, lists, nil, kinds{})
	watched := func(k kinds) []string {
		var names []string
		for gvr, kind := range k.watched {
			names = append(names, gvr.GroupVersion().String()+" "+gvr.Resource+" "+kind)
		}
		slices.Sort(names)
		return names
	}
	want := []string{"autoscaling/v1 old Old", "autoscaling/v2 horizontalpodautoscalers HorizontalPodAutoscaler", "v1 pods Pod"}
	if got := watched(k); !slices.Equal(got, want) {
		t.Errorf("watched are %q, want %q", got, want)
	}
	if m, ok := k.byKind[schema.GroupVersionKind{Group: "autoscaling", Version: "v1", Kind: "HorizontalPodAutoscaler"}]; !ok || !m.namespaced || m.resource.Version != "v1" {
		t.Errorf("the older version maps to %+v", m)
	}
	if _, ok := k.byKind[schema.GroupVersionKind{Version: "v1", Kind: "Event"}]; !ok {
		t.Error("a kind that is not watched cannot be an owner")
	}
	// The second time one group does not answer, and the other loses a kind.
	lists[0].APIResources = lists[0].APIResources[2:]
	again := planKinds(groups, lists[:1], map[schema.GroupVersion]error{
		{Group: "autoscaling", Version: "v1"}: nil, {Group: "autoscaling", Version: "v2"}: nil,
	}, k)
	if got := watched(again); !slices.Equal(got, want[:2]) {
		t.Errorf("after a failure watched are %q, want %q", got, want[:2])
	}
}
