package controllers_test

import (
	"fmt"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/skiffcluster/skiff/cluster/clustertest"
	"github.com/skiffcluster/skiff/controllers"
)

// owns makes a reference to a ConfigMap.
func owns(owner *corev1.ConfigMap, blocks bool) metav1.OwnerReference {
	return metav1.OwnerReference{APIVersion: "v1", Kind: "ConfigMap", Name: owner.Name, UID: owner.UID, BlockOwnerDeletion: ptr.To(blocks)}
}

// createMap creates a ConfigMap in the namespace default.
func createMap(t *testing.T, c client.Client, name string, owners ...metav1.OwnerReference) *corev1.ConfigMap {
	t.Helper()
	object := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name, OwnerReferences: owners}}
	if err := c.Create(t.Context(), object); err != nil {
		t.Fatal(err)
	}
	return object
}

// exists tells whether an object with this UID is there, and reads it.
func exists(t *testing.T, c client.Client, object client.Object) bool {
	t.Helper()
	uid := object.GetUID()
	err := c.Get(t.Context(), client.ObjectKeyFromObject(object), object)
	if client.IgnoreNotFound(err) != nil {
		t.Fatal(err)
	}
	if err != nil {
		object.SetUID(uid)
		return false
	}
	same := object.GetUID() == uid
	object.SetUID(uid)
	return same
}

// eventuallyGone waits until the objects do not exist.
func eventuallyGone(t *testing.T, c client.Client, objects ...client.Object) {
	t.Helper()
	for _, object := range objects {
		eventually(t, func() string {
			if exists(t, c, object) {
				return fmt.Sprintf("%s is still there: owners %v, finalizers %v", object.GetName(), object.GetOwnerReferences(), object.GetFinalizers())
			}
			return ""
		})
	}
}

func remove(t *testing.T, c client.Client, object client.Object, options ...client.DeleteOption) {
	t.Helper()
	if err := c.Delete(t.Context(), object, options...); err != nil {
		t.Fatal(err)
	}
}

func TestDependentsGoAfterTheirOwner(t *testing.T) {
	c := start(t, "garbage-collector-controller")
	owner := createMap(t, c, "owner")
	child := createMap(t, c, "child", owns(owner, true))
	grandchild := createMap(t, c, "grandchild", owns(child, false))
	bystander := createMap(t, c, "bystander")
	remove(t, c, owner, client.PropagationPolicy(metav1.DeletePropagationBackground))
	eventuallyGone(t, c, owner, child, grandchild)
	if !exists(t, c, bystander) {
		t.Error("an object without owner was collected")
	}
}

func TestOneLivingOwnerKeepsAnObject(t *testing.T) {
	c := start(t, "garbage-collector-controller")
	dies, stays := createMap(t, c, "dies"), createMap(t, c, "stays")
	child := createMap(t, c, "child", owns(dies, true), owns(stays, true))
	remove(t, c, dies)
	eventually(t, func() string {
		if !exists(t, c, child) {
			t.Fatal("the child is gone with its other owner still there")
		}
		if len(child.OwnerReferences) != 1 || child.OwnerReferences[0].UID != stays.UID {
			return fmt.Sprintf("owners are %v", child.OwnerReferences)
		}
		return ""
	})
	remove(t, c, stays)
	eventuallyGone(t, c, child)
}

func TestForegroundWaitsForBlockingDependents(t *testing.T) {
	c := start(t, "garbage-collector-controller")
	owner := createMap(t, c, "owner")
	child := createMap(t, c, "child", owns(owner, true))
	held := createMap(t, c, "held", owns(child, true))
	held.Finalizers = []string{"example.com/hold"}
	if err := c.Update(t.Context(), held); err != nil {
		t.Fatal(err)
	}
	remove(t, c, owner, client.PropagationPolicy(metav1.DeletePropagationForeground))
	eventually(t, func() string {
		if !exists(t, c, held) {
			t.Fatal("a finalizer was overridden")
		}
		if held.DeletionTimestamp == nil {
			return "the grandchild is not being deleted"
		}
		return ""
	})
	for _, waits := range []*corev1.ConfigMap{owner, child} {
		if !exists(t, c, waits) {
			t.Fatalf("%s went before its dependents", waits.Name)
		}
		if waits.DeletionTimestamp == nil || len(waits.Finalizers) != 1 || waits.Finalizers[0] != metav1.FinalizerDeleteDependents {
			t.Errorf("%s has finalizers %v", waits.Name, waits.Finalizers)
		}
	}
	held.Finalizers = nil
	if err := c.Update(t.Context(), held); err != nil {
		t.Fatal(err)
	}
	eventuallyGone(t, c, held, child, owner)
}

func TestForegroundDoesNotWaitForOthers(t *testing.T) {
	c := start(t, "garbage-collector-controller")
	owner := createMap(t, c, "owner")
	held := createMap(t, c, "held", owns(owner, false))
	held.Finalizers = []string{"example.com/hold"}
	if err := c.Update(t.Context(), held); err != nil {
		t.Fatal(err)
	}
	remove(t, c, owner, client.PropagationPolicy(metav1.DeletePropagationForeground))
	eventuallyGone(t, c, owner)
	eventually(t, func() string {
		if !exists(t, c, held) || held.DeletionTimestamp == nil {
			return "the dependent is not being deleted"
		}
		return ""
	})
}

func TestACircleOfForegroundDeletionsEnds(t *testing.T) {
	c := start(t, "garbage-collector-controller")
	first := createMap(t, c, "first")
	second := createMap(t, c, "second", owns(first, true))
	first.OwnerReferences = []metav1.OwnerReference{owns(second, true)}
	if err := c.Update(t.Context(), first); err != nil {
		t.Fatal(err)
	}
	remove(t, c, first, client.PropagationPolicy(metav1.DeletePropagationForeground))
	eventuallyGone(t, c, first, second)
}

func TestOrphansStay(t *testing.T) {
	c := start(t, "garbage-collector-controller")
	owner := createMap(t, c, "owner")
	var children []*corev1.ConfigMap
	for i := range 30 {
		children = append(children, createMap(t, c, fmt.Sprint("child-", i), owns(owner, true)))
	}
	remove(t, c, owner, client.PropagationPolicy(metav1.DeletePropagationOrphan))
	eventuallyGone(t, c, owner)
	for _, child := range children {
		if !exists(t, c, child) || len(child.OwnerReferences) != 0 {
			t.Errorf("%s has owners %v", child.Name, child.OwnerReferences)
		}
	}
}

func TestAnOwnerThatNeverWasIsAbsent(t *testing.T) {
	c := start(t, "garbage-collector-controller")
	real := createMap(t, c, "real")
	gone := createMap(t, c, "gone", metav1.OwnerReference{APIVersion: "v1", Kind: "ConfigMap", Name: "nobody", UID: "no-such-uid"})
	// An owner of that name with another UID is another object.
	mistaken := createMap(t, c, "mistaken", metav1.OwnerReference{APIVersion: "v1", Kind: "ConfigMap", Name: real.Name, UID: "no-such-uid"})
	unknown := createMap(t, c, "unknown", metav1.OwnerReference{APIVersion: "example.com/v1", Kind: "Widget", Name: "w", UID: "some-uid"})
	kept := createMap(t, c, "kept", owns(real, false))
	eventuallyGone(t, c, gone, mistaken)
	if !exists(t, c, kept) {
		t.Error("an object whose owner exists was collected")
	}
	if !exists(t, c, unknown) {
		t.Error("an object whose owner's kind is unknown was collected")
	}
}

func TestAnOwnerInAnotherNamespaceIsAbsent(t *testing.T) {
	c := start(t, "garbage-collector-controller")
	needs(t, c, &corev1.Event{})
	if err := c.Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "other"}}); err != nil {
		t.Fatal(err)
	}
	owner := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "other", Name: "owner"}}
	if err := c.Create(t.Context(), owner); err != nil {
		t.Fatal(err)
	}
	child := createMap(t, c, "child", owns(owner, false))
	eventuallyGone(t, c, child)
	if !exists(t, c, owner) {
		t.Error("the owner is gone")
	}
	eventually(t, func() string {
		events := &corev1.EventList{}
		if err := c.List(t.Context(), events, client.InNamespace("default")); err != nil {
			t.Fatal(err)
		}
		for _, event := range events.Items {
			if event.Reason == "OwnerRefInvalidNamespace" && event.InvolvedObject.UID == child.UID {
				want := fmt.Sprintf("ownerRef [v1/ConfigMap, namespace: default, name: owner, uid: %s] does not exist in namespace %q", owner.UID, "default")
				if event.Message != want || event.Type != corev1.EventTypeWarning {
					t.Errorf("the event is %s %q, want %q", event.Type, event.Message, want)
				}
				return ""
			}
		}
		return "no event tells of the wrong namespace"
	})
}

func TestWhatWasLeftBehindIsCollectedAfterAStart(t *testing.T) {
	api := clustertest.APIServer(t)
	c := api.Client()
	owner := createMap(t, c, "owner")
	child := createMap(t, c, "child", owns(owner, false))
	foreground := createMap(t, c, "foreground")
	blocker := createMap(t, c, "blocker", owns(foreground, true))
	remove(t, c, owner)
	remove(t, c, foreground, client.PropagationPolicy(metav1.DeletePropagationForeground))
	if !exists(t, c, child) || !exists(t, c, foreground) {
		t.Fatal("something is gone without a collector")
	}
	run(t, controllers.Config{REST: api.RESTConfig(), Controllers: []string{"garbage-collector-controller"}})
	eventuallyGone(t, c, child, foreground, blocker)
}

func TestCustomResourcesAreFollowed(t *testing.T) {
	c := start(t, "garbage-collector-controller")
	definition := newDefinition("widgets.example.com")
	needs(t, c, definition)
	if err := c.Create(t.Context(), definition); err != nil {
		t.Fatal(err)
	}
	owner := newWidget("owner")
	eventually(t, func() string {
		if err := c.Create(t.Context(), owner); err != nil && !apierrors.IsAlreadyExists(err) {
			return err.Error()
		}
		return ""
	})
	reference := metav1.OwnerReference{APIVersion: "example.com/v1", Kind: "Widget", Name: "owner", UID: owner.GetUID()}
	child := createMap(t, c, "child", reference)
	otherChild := newWidget("child")
	otherChild.SetOwnerReferences([]metav1.OwnerReference{reference})
	if err := c.Create(t.Context(), otherChild); err != nil {
		t.Fatal(err)
	}
	remove(t, c, owner)
	eventuallyGone(t, c, child, otherChild)
}
