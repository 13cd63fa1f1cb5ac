package apiserverinternal

import (
	"fmt"
	"slices"
	"strings"

	apiserverinternalv1alpha1 "k8s.io/api/apiserverinternal/v1alpha1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/skiffcluster/skiff/api"
	"github.com/skiffcluster/skiff/api/print"
	"github.com/skiffcluster/skiff/api/validate"
)

// StorageVersion says of a resource in which version each API server stores
// it.
var StorageVersion = api.Of[apiserverinternalv1alpha1.StorageVersion]{
	Group: apiserverinternalv1alpha1.GroupName, Version: "v1alpha1", Kind: "StorageVersion", Resource: "storageversions",
	ClusterScoped:         true,
	NoUnconditionalUpdate: true,

	// The name is of a group and a resource: "apps.deployments".
	NameValidation: func(name string, _ bool) []string {
		i := strings.LastIndex(name, ".")
		if i < 0 {
			return []string{"name must be in the form of <group>.<resource>"}
		}
		var messages []string
		if group := name[:i]; group != "" {
			for _, m := range validation.IsDNS1123Subdomain(group) {
				messages = append(messages, "the group segment "+m)
			}
		}
		for _, m := range validation.IsDNS1035Label(name[i+1:]) {
			messages = append(messages, "the resource segment "+m)
		}
		return messages
	},
	Validate: func(v *apiserverinternalv1alpha1.StorageVersion) field.ErrorList { return checkStatus(&v.Status) },
	Status: &api.Status[apiserverinternalv1alpha1.StorageVersion]{
		KeepMetadata: true,
		Validate:     func(v, _ *apiserverinternalv1alpha1.StorageVersion) field.ErrorList { return checkStatus(&v.Status) },
	},

	Columns: []api.Column[apiserverinternalv1alpha1.StorageVersion]{
		print.Name[apiserverinternalv1alpha1.StorageVersion](),
		{
			Name: "CommonEncodingVersion", Description: apiserverinternalv1alpha1.StorageVersionStatus{}.SwaggerDoc()["commonEncodingVersion"],
			Value: func(v *apiserverinternalv1alpha1.StorageVersion) any {
				if common := v.Status.CommonEncodingVersion; common != nil {
					return *common
				}
				return "<unset>"
			},
		},
		{
			Name: "StorageVersions", Description: apiserverinternalv1alpha1.StorageVersionStatus{}.SwaggerDoc()["storageVersions"],
			Value: func(v *apiserverinternalv1alpha1.StorageVersion) any { return listed(v.Status.StorageVersions) },
		},
		print.Age[apiserverinternalv1alpha1.StorageVersion](),
	},
}

// listed shows what each server stores, three of them.
func listed(servers []apiserverinternalv1alpha1.ServerStorageVersion) string {
	const most = 3
	var parts []string
	for _, s := range servers {
		parts = append(parts, s.APIServerID+"="+s.EncodingVersion)
	}
	if len(parts) == 0 {
		return "<unset>"
	}
	if more := len(parts) - most; more > 0 {
		return fmt.Sprintf("%s + %d more...", strings.Join(parts[:most], ","), more)
	}
	return strings.Join(parts, ",")
}

func checkStatus(s *apiserverinternalv1alpha1.StorageVersionStatus) field.ErrorList {
	var e validate.Errors
	fld := field.NewPath("status")
	ids, encodings := sets.New[string](), sets.New[string]()
	for i := range s.StorageVersions {
		server, p := &s.StorageVersions[i], fld.Child("storageVersions").Index(i)
		if ids.Has(server.APIServerID) {
			e.Duplicate(p.Child("apiServerID"), server.APIServerID)
		}
		ids.Insert(server.APIServerID)
		encodings.Insert(server.EncodingVersion)
		checkServer(&e, server, p)
	}
	common := fld.Child("commonEncodingVersion")
	switch declared := s.CommonEncodingVersion; {
	case len(encodings) != 1 && declared != nil:
		e.Invalid(common, *declared, "should be nil if servers do not agree on the same encoding version, or if there is no server reporting the supported versions yet")
	case len(encodings) == 1 && declared == nil:
		e.Invalid(common, declared, "the common encoding version is "+encodings.UnsortedList()[0])
	case len(encodings) == 1 && !encodings.Has(*declared):
		e.Invalid(common, *declared, "the actual common encoding version is "+encodings.UnsortedList()[0])
	}
	first := map[apiserverinternalv1alpha1.StorageVersionConditionType]int{}
	for i, c := range s.Conditions {
		p := fld.Index(i)
		if at, ok := first[c.Type]; ok {
			e.Invalidf(p.Child("type"), string(c.Type), "the type of the condition is not unique, it also appears in conditions[%d]", at)
		}
		first[c.Type] = i
		e.QualifiedName(p.Child("type"), string(c.Type))
		e.QualifiedName(p.Child("status"), string(c.Status))
		if c.Reason == "" {
			e.Required(p.Child("reason"), "reason cannot be empty")
		}
		if c.Message == "" {
			e.Required(p.Child("message"), "message cannot be empty")
		}
	}
	return e.List()
}

func checkServer(e *validate.Errors, s *apiserverinternalv1alpha1.ServerStorageVersion, p *field.Path) {
	e.Name(p.Child("apiServerID"), s.APIServerID, apivalidation.NameIsDNSSubdomain)
	version := func(p *field.Path, v string) {
		if messages := versionFaults(v); len(messages) > 0 {
			e.Invalid(p, v, strings.Join(messages, ","))
		}
	}
	version(p.Child("encodingVersion"), s.EncodingVersion)
	for i, v := range s.DecodableVersions {
		version(p.Child("decodableVersions").Index(i), v)
	}
	if !slices.Contains(s.DecodableVersions, s.EncodingVersion) {
		e.Invalid(p.Child("decodableVersions"), s.DecodableVersions, "decodableVersions must include encodingVersion "+s.EncodingVersion)
	}
	for i, v := range s.ServedVersions {
		version(p.Child("servedVersions").Index(i), v)
		if !slices.Contains(s.DecodableVersions, v) {
			e.Invalidf(p.Child("servedVersions").Index(i), v, "individual served version : %s must be included in decodableVersions : %s", v, s.DecodableVersions)
		}
	}
}

// versionFaults says what is wrong with "group/version".
func versionFaults(text string) []string {
	const (
		form   = "[a-z]([-a-z0-9]*[a-z0-9])?"
		is     = "a DNS-1035 label, which must consist of lower case alphanumeric characters or '-', start with an alphabetic character, and end with an alphanumeric character"
		prefix = " with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyVersion')"
	)
	group, version, grouped := strings.Cut(text, "/")
	if !grouped {
		group, version = "", text
	}
	if strings.Contains(version, "/") {
		return []string{"an apiVersion is " + validation.RegexError(is, form, "my-name", "abc-123") + prefix}
	}
	part := func(name, value string, check func(string) []string) (out []string) {
		if value == "" {
			return []string{name + " part: " + validation.EmptyError()}
		}
		for _, m := range check(value) {
			out = append(out, name+" part: "+m)
		}
		return out
	}
	var messages []string
	if grouped {
		messages = part("group", group, validation.IsDNS1123Subdomain)
	}
	return append(messages, part("version", version, validation.IsDNS1035Label)...)
}
