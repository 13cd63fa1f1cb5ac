package storagemigration

import (
	"strings"

	storagemigrationv1 "k8s.io/api/storagemigration/v1"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	metav1validation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/util/resourceversion"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/skiffcluster/skiff/api"
	"github.com/skiffcluster/skiff/api/print"
	"github.com/skiffcluster/skiff/api/validate"
)

// StorageVersionMigration writes all objects of a resource again.
var StorageVersionMigration = api.Of[storagemigrationv1.StorageVersionMigration]{
	Group: storagemigrationv1.GroupName, Version: "v1", Kind: "StorageVersionMigration", Resource: "storageversionmigrations",
	NoUnconditionalUpdate: true,
	ClusterScoped:         true,

	Validate: func(m *storagemigrationv1.StorageVersionMigration) field.ErrorList {
		var e validate.Errors
		r, fld := &m.Spec.Resource, field.NewPath("spec", "resource")
		check := func(name, value string, messages []string) {
			if len(messages) > 0 {
				e.Invalid(fld.Child(name), value, strings.Join(messages, ","))
			}
		}
		if r.Resource == "" {
			e.Required(fld.Child("resource"), "resource is required to be set")
		} else {
			check("resource", r.Resource, validation.IsDNS1035Label(r.Resource))
		}
		if r.Group != "" {
			check("group", r.Group, validation.IsDNS1123Subdomain(r.Group))
		}
		return e.List()
	},
	ValidateUpdate: func(m, old *storagemigrationv1.StorageVersionMigration) field.ErrorList {
		return apivalidation.ValidateImmutableField(m.Spec, old.Spec, field.NewPath("spec"))
	},
	Status: &api.Status[storagemigrationv1.StorageVersionMigration]{KeepMetadata: true, Validate: checkProgress},

	Columns: []api.Column[storagemigrationv1.StorageVersionMigration]{
		print.Name[storagemigrationv1.StorageVersionMigration](),
		{
			Name: "Resource", Description: "GroupResource to migrate",
			Value: func(m *storagemigrationv1.StorageVersionMigration) any {
				if r := m.Spec.Resource; r.Group != "" {
					return r.Resource + "." + r.Group
				}
				return m.Spec.Resource.Resource
			},
		},
		{
			Name: "Status", Description: "Status of the migration",
			Value: func(m *storagemigrationv1.StorageVersionMigration) any {
				status := "Unknown"
				for _, c := range m.Status.Conditions {
					if t := storagemigrationv1.MigrationConditionType(c.Type); c.Status == metav1.ConditionTrue &&
						(t == storagemigrationv1.MigrationRunning || t == storagemigrationv1.MigrationSucceeded || t == storagemigrationv1.MigrationFailed) {
						status = c.Type
					}
				}
				return status
			},
		},
	},
}

// checkProgress checks that a migration goes forward only.
func checkProgress(m, old *storagemigrationv1.StorageVersionMigration) field.ErrorList {
	var e validate.Errors
	fld := field.NewPath("status")
	version, conditions := m.Status.ResourceVersion, m.Status.Conditions
	if _, err := resourceversion.CompareResourceVersion(version, version); version != "" && err != nil {
		e.Invalid(fld.Child("resourceVersion"), version, err.Error())
	}
	e.Add(metav1validation.ValidateConditions(conditions, fld.Child("conditions")))
	if before := old.Status.ResourceVersion; before != "" && before != version {
		e.Invalid(fld.Child("resourceVersion"), version, apivalidation.FieldImmutableErrorMsg)
	}
	is := func(of *storagemigrationv1.StorageVersionMigration, t storagemigrationv1.MigrationConditionType) bool {
		return apimeta.IsStatusConditionTrue(of.Status.Conditions, string(t))
	}
	const running, done, failed = storagemigrationv1.MigrationRunning, storagemigrationv1.MigrationSucceeded, storagemigrationv1.MigrationFailed
	for _, rule := range []struct {
		broken  bool
		message string
	}{
		{is(m, done) && is(m, failed), "Both success and failed conditions cannot be true at the same time"},
		{is(m, done) && is(m, running), "Running condition cannot be true when success condition is true"},
		{is(m, failed) && is(m, running), "Running condition cannot be true when failed condition is true"},
		{is(old, done) && !is(m, done), "Success condition cannot be set to false once it is true"},
		{is(old, failed) && !is(m, failed), "Failed condition cannot be set to false once it is true"},
	} {
		if rule.broken {
			e.Invalid(fld.Child("conditions"), conditions, rule.message)
		}
	}
	return e.List()
}
