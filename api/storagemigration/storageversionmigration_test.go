package storagemigration_test

import (
	"testing"

	storagemigrationv1 "k8s.io/api/storagemigration/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/skiffcluster/skiff/api/kindtest"
	"github.com/skiffcluster/skiff/api/storagemigration"
)

func TestMigrations(t *testing.T) {
	of := func(group, resource string) *storagemigrationv1.StorageVersionMigration {
		return &storagemigrationv1.StorageVersionMigration{Spec: storagemigrationv1.StorageVersionMigrationSpec{Resource: metav1.GroupResource{Group: group, Resource: resource}}}
	}
	k := storagemigration.StorageVersionMigration
	kindtest.Errors(t, k.Validate(of("", "pods")))
	kindtest.Errors(t, k.Validate(of("Apps", "")), "spec.resource.resource: Required value: resource is required to be set", `spec.resource.group: Invalid value: "Apps"`)
	kindtest.Errors(t, k.ValidateUpdate(of("apps", "deployments"), of("", "pods")), "spec: Invalid value")
	if c := k.Erase().Cells(of("apps", "deployments")); c[1] != "deployments.apps" {
		t.Errorf("%v", c)
	}
	with := func(version string, types ...storagemigrationv1.MigrationConditionType) *storagemigrationv1.StorageVersionMigration {
		m := of("", "pods")
		m.Status.ResourceVersion = version
		for _, c := range types {
			m.Status.Conditions = append(m.Status.Conditions, metav1.Condition{Type: string(c), Status: metav1.ConditionTrue, Reason: "R", LastTransitionTime: metav1.Now()})
		}
		return m
	}
	const running, done, failed = storagemigrationv1.MigrationRunning, storagemigrationv1.MigrationSucceeded, storagemigrationv1.MigrationFailed
	if c := k.Erase().Cells(with("", done)); c[2] != "Succeeded" {
		t.Errorf("%v", c)
	}
	if c := k.Erase().Cells(with("")); c[2] != "Unknown" {
		t.Errorf("%v", c)
	}
	for _, c := range []struct {
		name     string
		obj, old *storagemigrationv1.StorageVersionMigration
		want     []string
	}{
		{"it runs", with("7", running), with("7"), nil},
		{"it ends", with("7", done), with("7", running), nil},
		{"it has one end", with("7", done, failed), with("7"), []string{"status.conditions: Invalid value"}},
		{"it does not begin again", with("7", running), with("7", done), []string{"status.conditions: Invalid value"}},
		{"it is of one version", with("8"), with("7"), []string{`status.resourceVersion: Invalid value: "8": field is immutable`}},
		{"versions are numbers", with("x"), with(""), []string{`status.resourceVersion: Invalid value: "x"`}},
	} {
		t.Run(c.name, func(t *testing.T) { kindtest.Errors(t, k.Status.Validate(c.obj, c.old), c.want...) })
	}
}
