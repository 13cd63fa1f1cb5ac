package resource

import (
	resourcev1 "k8s.io/api/resource/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	metav1validation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/skiffcluster/skiff/api"
	"github.com/skiffcluster/skiff/api/print"
	"github.com/skiffcluster/skiff/api/validate"
)

// DeviceTaintRule taints devices by an administrator's hand.
var DeviceTaintRule = api.Of[resourcev1.DeviceTaintRule]{
	Group: resourcev1.GroupName, Version: "v1", Kind: "DeviceTaintRule", Resource: "devicetaintrules",
	NoUnconditionalUpdate: true,
	ClusterScoped:         true,
	Generation:            true,

	Default: func(r *resourcev1.DeviceTaintRule) { stamp(&r.Spec.Taint) },
	PrepareUpdate: func(r, old *resourcev1.DeviceTaintRule) {
		// A new effect begins now, unless the client says when.
		if r.Spec.Taint.Effect != old.Spec.Taint.Effect && r.Spec.Taint.TimeAdded.Equal(old.Spec.Taint.TimeAdded) {
			r.Spec.Taint.TimeAdded = nil
		}
		stamp(&r.Spec.Taint)
	},
	Validate: func(r *resourcev1.DeviceTaintRule) field.ErrorList {
		var e validate.Errors
		fld := field.NewPath("spec")
		if s, p := r.Spec.DeviceSelector, fld.Child("deviceSelector"); s != nil {
			if s.Driver != nil {
				e.DriverName(p.Child("driver"), *s.Driver)
			}
			if s.Pool != nil {
				checkPool(&e, *s.Pool, p.Child("pool"))
			}
			if s.Device != nil {
				e.DNSLabel(p.Child("device"), *s.Device)
			}
		}
		checkTaint(&e, &r.Spec.Taint, fld.Child("taint"))
		return e.List()
	},
	Status: &api.Status[resourcev1.DeviceTaintRule]{
		NoTable:      true,
		KeepMetadata: true,
		Validate: func(r, _ *resourcev1.DeviceTaintRule) field.ErrorList {
			fld := field.NewPath("status", "conditions")
			errs := metav1validation.ValidateConditions(r.Status.Conditions, fld)
			if n := len(r.Status.Conditions); n > resourcev1.DeviceTaintRuleStatusMaxConditions {
				errs = append(errs, field.TooMany(fld, n, resourcev1.DeviceTaintRuleStatusMaxConditions))
			}
			return errs
		},
	},

	Columns: []api.Column[resourcev1.DeviceTaintRule]{
		print.Name[resourcev1.DeviceTaintRule](),
		taintColumn("Key", "key", func(t *resourcev1.DeviceTaint) string { return t.Key }),
		taintColumn("Value", "value", func(t *resourcev1.DeviceTaint) string { return t.Value }),
		taintColumn("Effect", "effect", func(t *resourcev1.DeviceTaint) string { return string(t.Effect) }),
		taintColumn("TimeAdded", "timeAdded", func(t *resourcev1.DeviceTaint) string {
			if t.TimeAdded == nil {
				return ""
			}
			return print.Since(*t.TimeAdded)
		}),
		print.Age[resourcev1.DeviceTaintRule](),
	},
}

func taintColumn(name, of string, value func(*resourcev1.DeviceTaint) string) api.Column[resourcev1.DeviceTaintRule] {
	return api.Column[resourcev1.DeviceTaintRule]{
		Name: name, Description: resourcev1.DeviceTaint{}.SwaggerDoc()[of],
		Value: func(r *resourcev1.DeviceTaintRule) any { return value(&r.Spec.Taint) },
	}
}

// stamp says when a taint was added, to the second, as it is stored.
func stamp(t *resourcev1.DeviceTaint) {
	if t.TimeAdded == nil {
		now := metav1.Now().Rfc3339Copy()
		t.TimeAdded = &now
	}
}
