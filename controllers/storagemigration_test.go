package controllers_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	storagemigrationv1 "k8s.io/api/storagemigration/v1"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	clocktesting "k8s.io/utils/clock/testing"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/skiffcluster/skiff/controllers"
)

func newMigration(name, group, resource string) *storagemigrationv1.StorageVersionMigration {
	return &storagemigrationv1.StorageVersionMigration{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec:       storagemigrationv1.StorageVersionMigrationSpec{Resource: metav1.GroupResource{Group: group, Resource: resource}},
	}
}

// ends waits for the end of a migration, and returns its only condition.
func ends(t *testing.T, c client.Client, m *storagemigrationv1.StorageVersionMigration) metav1.Condition {
	t.Helper()
	eventually(t, func() string {
		get(t, c, m)
		if len(m.Status.Conditions) != 1 || m.Status.Conditions[0].Type == string(storagemigrationv1.MigrationRunning) {
			return fmt.Sprintf("migration %s: %+v", m.Name, m.Status.Conditions)
		}
		return ""
	})
	return m.Status.Conditions[0]
}

func object(kind, name string) *unstructured.Unstructured {
	o := &unstructured.Unstructured{}
	o.SetGroupVersionKind(schema.FromAPIVersionAndKind(kind[:strings.LastIndex(kind, "/")], kind[strings.LastIndex(kind, "/")+1:]))
	o.SetName(name)
	return o
}

// widgets is a definition with two versions.
func widgets() *unstructured.Unstructured {
	crd := object("apiextensions.k8s.io/v1/CustomResourceDefinition", "widgets.example.com")
	version := func(name string, storage bool) map[string]any {
		return map[string]any{"name": name, "served": true, "storage": storage, "schema": map[string]any{
			"openAPIV3Schema": map[string]any{"type": "object", "properties": map[string]any{"size": map[string]any{"type": "integer"}}},
		}}
	}
	crd.Object["spec"] = map[string]any{
		"group": "example.com", "scope": "Namespaced", "names": map[string]any{"plural": "widgets", "kind": "Widget"},
		"versions": []any{version("v1", true), version("v2", false)},
	}
	return crd
}

func TestStorageIsMigrated(t *testing.T) {
	clock := clocktesting.NewFakeClock(time.Now())
	c := startWith(t, controllers.Config{Clock: clock, Controllers: []string{"storage-version-migrator-controller"}})

	t.Run("custom resources are stored in the new version", func(t *testing.T) {
		crd, made := widgets(), map[string]*unstructured.Unstructured{}
		create(t, c, crd)
		for i := range 4 {
			w := object("example.com/v1/Widget", fmt.Sprintf("w%d", i))
			w.SetNamespace("default")
			w.Object["size"] = int64(i)
			eventually(t, func() string {
				if err := c.Create(t.Context(), w); err != nil {
					return err.Error() // not served yet
				}
				return ""
			})
			made[w.GetName()] = w
		}
		change(t, c, crd, func() {
			versions, _, _ := unstructured.NestedSlice(crd.Object, "spec", "versions")
			versions[0].(map[string]any)["storage"], versions[1].(map[string]any)["storage"] = false, true
			_ = unstructured.SetNestedSlice(crd.Object, versions, "spec", "versions")
		})
		// The server stores in the new version a moment after the definition says
		// so: when an update that changes nothing is a write.
		probe := made["w3"].DeepCopy()
		eventually(t, func() string {
			if change(t, c, probe, func() {}); probe.GetResourceVersion() == made["w3"].GetResourceVersion() {
				return "still stored as v1"
			}
			return ""
		})
		m := newMigration("widgets", "example.com", "widgets")
		create(t, c, m)
		if end := ends(t, c, m); end.Type != "Succeeded" || end.Reason != "StorageVersionMigrationSucceeded" || m.Status.ResourceVersion == "" {
			t.Errorf("%+v", m.Status)
		}
		get(t, c, crd)
		if stored, _, _ := unstructured.NestedStringSlice(crd.Object, "status", "storedVersions"); len(stored) != 1 || stored[0] != "v2" {
			t.Errorf("stored versions %v", stored)
		}
		if said := conditionOf(crd, "StorageMigrating"); said != "False MigrationSucceeded: The migration has succeeded and the stored versions have been updated" {
			t.Errorf("%q", said)
		}
		for name, before := range made {
			now := object("example.com/v2/Widget", name)
			now.SetNamespace("default")
			get(t, c, now)
			if now.GetResourceVersion() == before.GetResourceVersion() || now.Object["size"] != before.Object["size"] || now.GetGeneration() != before.GetGeneration() {
				t.Errorf("%s was %v, is %v", name, before.Object, now.Object)
			}
			for _, f := range now.GetManagedFields() {
				if f.Manager == "storage-version-migrator-controller" {
					t.Errorf("%s: the migration owns fields: %+v", name, f)
				}
			}
		}
	})

	t.Run("what is stored right is not written", func(t *testing.T) {
		m := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "m"}}
		create(t, c, m)
		version := m.ResourceVersion
		migration := newMigration("maps", "", "configmaps")
		create(t, c, migration)
		if end := ends(t, c, migration); end.Type != "Succeeded" {
			t.Errorf("%+v", end)
		}
		if get(t, c, m); m.ResourceVersion != version {
			t.Errorf("version %s became %s", version, m.ResourceVersion)
		}
	})

	t.Run("a resource that there is not is waited for for a minute", func(t *testing.T) {
		m := newMigration("nothing", "example.com", "nothings")
		create(t, c, m)
		eventually(t, func() string {
			if get(t, c, m); !apimeta.IsStatusConditionTrue(m.Status.Conditions, string(storagemigrationv1.MigrationRunning)) {
				return fmt.Sprintf("%+v", m.Status.Conditions)
			}
			return ""
		})
		clock.SetTime(m.CreationTimestamp.Add(time.Minute))
		if end := ends(t, c, m); end.Type != "Failed" || end.Reason != "StorageVersionMigrationFailed" || end.Message != "resource does not exist in discovery" {
			t.Errorf("%+v", end)
		}
	})

	t.Run("a resource that cannot be listed", func(t *testing.T) {
		m := newMigration("reviews", "authorization.k8s.io", "subjectaccessreviews")
		create(t, c, m)
		if end := ends(t, c, m); end.Type != "Failed" || end.Message != "migration encountered unhandled error" {
			t.Errorf("%+v", end)
		}
	})

	t.Run("several of one resource run in turn", func(t *testing.T) {
		var all []*storagemigrationv1.StorageVersionMigration
		for i := range 5 {
			m := newMigration(fmt.Sprintf("turn-%d", i), "", "secrets")
			create(t, c, m)
			all = append(all, m)
		}
		for _, m := range all {
			if end := ends(t, c, m); end.Type != "Succeeded" {
				t.Errorf("%+v", end)
			}
		}
		for i, m := range all[1:] {
			before := apimeta.FindStatusCondition(all[i].Status.Conditions, "Succeeded").LastTransitionTime
			if own := apimeta.FindStatusCondition(m.Status.Conditions, "Succeeded").LastTransitionTime; own.Before(&before) {
				t.Errorf("%s ended at %s, the one before at %s", m.Name, own, before)
			}
		}
	})
}

// conditionOf is a condition in one line.
func conditionOf(o *unstructured.Unstructured, kind string) string {
	conditions, _, _ := unstructured.NestedSlice(o.Object, "status", "conditions")
	for _, raw := range conditions {
		if c, ok := raw.(map[string]any); ok && c["type"] == kind {
			return fmt.Sprintf("%s %s: %s", c["status"], c["reason"], c["message"])
		}
	}
	return ""
}
