package scheduling

import (
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	schedulingv1 "k8s.io/api/scheduling/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/utils/ptr"

	"github.com/skiffcluster/skiff/api"
	"github.com/skiffcluster/skiff/api/print"
	"github.com/skiffcluster/skiff/api/validate"
)

const (
	// HighestUserPriority is the highest value of a class that users make.
	HighestUserPriority = 1_000_000_000
	// systemPrefix begins the names of the cluster's own classes.
	systemPrefix = "system-"
)

// SystemClasses are the values of the classes that every cluster has; they are
// twice what users may have, so that nothing evicts the cluster's own pods.
var SystemClasses = map[string]int32{
	"system-cluster-critical": 2 * HighestUserPriority,
	"system-node-critical":    2*HighestUserPriority + 1000,
}

// PriorityClass is a level of importance of pods.
var PriorityClass = api.Of[schedulingv1.PriorityClass]{
	Group: schedulingv1.GroupName, Version: "v1", Kind: "PriorityClass", Resource: "priorityclasses",
	ShortNames:    []string{"pc"},
	ClusterScoped: true,
	PrepareCreate: func(p *schedulingv1.PriorityClass) { p.Generation = 1 },

	Default: func(p *schedulingv1.PriorityClass) {
		if p.PreemptionPolicy == nil {
			p.PreemptionPolicy = ptr.To(corev1.PreemptLowerPriority)
		}
	},
	ValidateCreate: validatePriorityClass,
	ValidateUpdate: validatePriorityClassUpdate,

	Columns: []api.Column[schedulingv1.PriorityClass]{
		print.Name[schedulingv1.PriorityClass](),
		{
			Name: "Value", Type: "integer", Description: schedulingv1.PriorityClass{}.SwaggerDoc()["value"],
			Value: func(p *schedulingv1.PriorityClass) any { return int64(p.Value) },
		},
		{
			Name: "Global-Default", Type: "boolean", Description: schedulingv1.PriorityClass{}.SwaggerDoc()["globalDefault"],
			Value: func(p *schedulingv1.PriorityClass) any { return p.GlobalDefault },
		},
		print.Age[schedulingv1.PriorityClass](),
		{
			Name: "PreemptionPolicy", Description: schedulingv1.PriorityClass{}.SwaggerDoc()["preemptionPolicy"],
			Value: func(p *schedulingv1.PriorityClass) any { return string(ptr.Deref(p.PreemptionPolicy, "")) },
		},
	},
}

func validatePriorityClass(p *schedulingv1.PriorityClass) field.ErrorList {
	var e validate.Errors
	if strings.HasPrefix(p.Name, systemPrefix) {
		if err := checkSystemClass(p); err != nil {
			e.Forbidden(field.NewPath("metadata", "name"),
				fmt.Sprintf("priority class names with '%s' prefix are reserved for system use only. error: %v", systemPrefix, err))
		}
	} else if p.Value > HighestUserPriority {
		e.Forbidden(field.NewPath("value"), fmt.Sprintf("maximum allowed value of a user defined priority is %v", HighestUserPriority))
	}
	if p.PreemptionPolicy != nil {
		validate.RequiredEnum(&e, field.NewPath("preemptionPolicy"), *p.PreemptionPolicy, corev1.PreemptLowerPriority, corev1.PreemptNever)
	}
	return e.List()
}

// checkSystemClass tells what makes p other than a class of the system.
func checkSystemClass(p *schedulingv1.PriorityClass) error {
	value, known := SystemClasses[p.Name]
	switch {
	case !known:
		return fmt.Errorf("%v is not a known system priority class", p.Name)
	case p.Value != value:
		return fmt.Errorf("value of %v PriorityClass must be %v", p.Name, value)
	case p.GlobalDefault:
		return fmt.Errorf("globalDefault of %v PriorityClass must be %v", p.Name, false)
	}
	return nil
}

func validatePriorityClassUpdate(p, old *schedulingv1.PriorityClass) field.ErrorList {
	var e validate.Errors
	if p.Value != old.Value {
		e.Forbidden(field.NewPath("value"), "may not be changed in an update.")
	}
	e.Add(apivalidation.ValidateImmutableField(p.PreemptionPolicy, old.PreemptionPolicy, field.NewPath("preemptionPolicy")))
	return e.List()
}
