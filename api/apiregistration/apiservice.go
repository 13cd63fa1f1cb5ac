package apiregistration

import (
	"fmt"
	"strings"

	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	apiregistrationv1 "k8s.io/kube-aggregator/pkg/apis/apiregistration/v1"
	"k8s.io/kube-aggregator/pkg/apis/apiregistration/v1/helper"
	"k8s.io/utils/ptr"

	"github.com/skiffcluster/skiff/api"
	"github.com/skiffcluster/skiff/api/print"
	"github.com/skiffcluster/skiff/api/validate"
)

const (
	defaultPort        = 443
	maxGroupPriority   = 20000
	maxVersionPriority = 1000
)

// Kinds are the kinds of the group.
func Kinds() []*api.Kind { return []*api.Kind{APIService.Erase()} }

// APIService says who serves a group and version: the API server itself, or
// a service in the cluster.
var APIService = api.Of[apiregistrationv1.APIService]{
	Group: apiregistrationv1.GroupName, Version: "v1", Kind: "APIService", Resource: "apiservices",
	FreeFinalizers:        true,
	Categories:            []string{"api-extensions"},
	ClusterScoped:         true,
	NoUnconditionalUpdate: true,

	Default: func(s *apiregistrationv1.APIService) {
		if s.Spec.Service != nil && s.Spec.Service.Port == nil {
			s.Spec.Service.Port = ptr.To[int32](defaultPort)
		}
	},
	// What the server itself serves is there from the beginning.
	PrepareCreate: func(s *apiregistrationv1.APIService) {
		if s.Spec.Service == nil {
			helper.SetAPIServiceCondition(s, helper.NewLocalAvailableAPIServiceCondition())
		}
	},
	NameValidation: validate.PathSegment,
	Validate:       validateAPIService,
	Status:         &api.Status[apiregistrationv1.APIService]{Keep: []string{"labels", "annotations", "finalizers", "ownerReferences"}, Validate: validateStatus, NoTable: true},

	Columns: []api.Column[apiregistrationv1.APIService]{
		print.Name[apiregistrationv1.APIService](),
		{
			Name: "Service", Description: "The reference to the service that hosts this API endpoint.",
			Value: func(s *apiregistrationv1.APIService) any {
				if s.Spec.Service == nil {
					return "Local"
				}
				return s.Spec.Service.Namespace + "/" + s.Spec.Service.Name
			},
		},
		{
			Name: "Available", Description: "Whether this service is available.",
			Value: func(s *apiregistrationv1.APIService) any {
				c := helper.GetAPIServiceConditionByType(s, apiregistrationv1.Available)
				switch {
				case c == nil:
					return string(apiregistrationv1.ConditionUnknown)
				case c.Status != apiregistrationv1.ConditionTrue && c.Reason != "":
					return fmt.Sprintf("%s (%s)", c.Status, c.Reason)
				}
				return string(c.Status)
			},
		},
		print.Age[apiregistrationv1.APIService](),
	},
}

func validateAPIService(s *apiregistrationv1.APIService) field.ErrorList {
	var e validate.Errors
	spec, fld := &s.Spec, field.NewPath("spec")
	if want := spec.Version + "." + spec.Group; s.Name != want && s.Name != "" && len(validate.PathSegment(s.Name, false)) == 0 {
		e.Invalidf(field.NewPath("metadata", "name"), s.Name, "must be `spec.version+\".\"+spec.group`: %q", want)
	}
	switch {
	case spec.Group != "":
		e.DNSSubdomain(fld.Child("group"), spec.Group)
	case spec.Version != "v1":
		e.Required(fld.Child("group"), "only v1 may have an empty group and it better be legacy kube")
	}
	e.Messages(fld.Child("version"), spec.Version, validation.IsDNS1035Label(spec.Version))
	if p := spec.GroupPriorityMinimum; p <= 0 || p > maxGroupPriority {
		e.Invalidf(fld.Child("groupPriorityMinimum"), p, "must be positive and less than %d", maxGroupPriority)
	}
	if p := spec.VersionPriority; p <= 0 || p > maxVersionPriority {
		e.Invalidf(fld.Child("versionPriority"), p, "must be positive and less than %d", maxVersionPriority)
	}
	if spec.Service == nil {
		if len(spec.CABundle) > 0 {
			e.Invalid(fld.Child("caBundle"), fmt.Sprintf("%d bytes", len(spec.CABundle)), "local APIServices may not have a caBundle")
		}
		if spec.InsecureSkipTLSVerify {
			e.Invalid(fld.Child("insecureSkipTLSVerify"), true, "local APIServices may not have insecureSkipTLSVerify")
		}
		return e.List()
	}
	if spec.Service.Namespace == "" {
		e.Required(fld.Child("service", "namespace"), "")
	}
	if spec.Service.Name == "" {
		e.Required(fld.Child("service", "name"), "")
	}
	if port := ptr.Deref(spec.Service.Port, 0); port < 1 || port > 65535 {
		e.Invalid(fld.Child("service", "port"), port, "port is not valid: "+strings.Join(validation.IsValidPortNum(int(port)), ", "))
	}
	if spec.InsecureSkipTLSVerify && len(spec.CABundle) > 0 {
		e.Invalid(fld.Child("insecureSkipTLSVerify"), true, "may not be true if caBundle is present")
	}
	return e.List()
}

func validateStatus(s, _ *apiregistrationv1.APIService) field.ErrorList {
	var e validate.Errors
	for i, c := range s.Status.Conditions {
		validate.Enum(&e, field.NewPath("status", "conditions").Index(i).Child("status"), c.Status,
			apiregistrationv1.ConditionTrue, apiregistrationv1.ConditionFalse, apiregistrationv1.ConditionUnknown)
	}
	return e.List()
}
