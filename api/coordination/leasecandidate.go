package coordination

import (
	"strings"

	"github.com/blang/semver/v4"
	coordinationv1 "k8s.io/api/coordination/v1"
	coordinationv1alpha2 "k8s.io/api/coordination/v1alpha2"
	coordinationv1beta1 "k8s.io/api/coordination/v1beta1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/skiffcluster/skiff/api"
	"github.com/skiffcluster/skiff/api/print"
	"github.com/skiffcluster/skiff/api/validate"
)

// LeaseCandidate is a component that would hold a lease, with its versions, by
// which the holder is chosen.
var LeaseCandidate = api.Of[coordinationv1beta1.LeaseCandidate]{
	Group: coordinationv1beta1.GroupName, Version: "v1beta1", Kind: "LeaseCandidate", Resource: "leasecandidates",
	FreeFinalizers:        true,
	CreateOnUpdate:        true,
	NoUnconditionalUpdate: true,

	NameValidation: func(name string, _ bool) []string { return validation.IsConfigMapKey(name) },
	Validate:       validateCandidate,
	ValidateUpdate: func(c, old *coordinationv1beta1.LeaseCandidate) field.ErrorList {
		return apivalidation.ValidateImmutableField(c.Spec.LeaseName, old.Spec.LeaseName, field.NewPath("spec", "leaseName"))
	},

	Columns: []api.Column[coordinationv1beta1.LeaseCandidate]{
		print.Name[coordinationv1beta1.LeaseCandidate](),
		candidateColumn("LeaseName", coordinationv1alpha2.LeaseCandidateSpec{}.SwaggerDoc()["leaseName"], func(s *coordinationv1beta1.LeaseCandidateSpec) string { return s.LeaseName }),
		candidateColumn("BinaryVersion", "", func(s *coordinationv1beta1.LeaseCandidateSpec) string { return s.BinaryVersion }),
		candidateColumn("EmulationVersion", "", func(s *coordinationv1beta1.LeaseCandidateSpec) string { return s.EmulationVersion }),
		print.Age[coordinationv1beta1.LeaseCandidate](),
	},
}

func candidateColumn(name, doc string, value func(*coordinationv1beta1.LeaseCandidateSpec) string) api.Column[coordinationv1beta1.LeaseCandidate] {
	return api.Column[coordinationv1beta1.LeaseCandidate]{
		Name: name, Description: doc,
		Value: func(c *coordinationv1beta1.LeaseCandidate) any { return value(&c.Spec) },
	}
}

func validateCandidate(c *coordinationv1beta1.LeaseCandidate) field.ErrorList {
	var e validate.Errors
	s, fld := &c.Spec, field.NewPath("spec")
	e.Text(fld.Child("leaseName"), s.LeaseName)
	version := func(text, name string) semver.Version {
		v, err := semver.Parse(text)
		if text != "" && err != nil {
			e.Invalid(fld.Child(name), text, "must be a valid semantic version")
		}
		return v
	}
	emulated, binary := version(s.EmulationVersion, "emulationVersion"), version(s.BinaryVersion, "binaryVersion")
	e.Text(fld.Child("binaryVersion"), s.BinaryVersion)
	if s.BinaryVersion != "" && s.EmulationVersion != "" && binary.LT(emulated) {
		e.Invalid(fld.Child("binaryVersion"), s.BinaryVersion, "must be greater than or equal to `emulationVersion`")
	}
	p := fld.Child("strategy")
	if s.Strategy == "" {
		e.Required(p, "")
		return e.List()
	}
	if s.Strategy == coordinationv1.OldestEmulationVersion && emulated.EQ(semver.Version{}) {
		e.Required(fld.Child("emulationVersion"), "must be specified when `strategy` is 'OldestEmulationVersion'")
	}
	checkStrategy(&e, s.Strategy, p)
	return e.List()
}

// checkStrategy checks how a holder is chosen: as Kubernetes can, or as
// somebody does whose domain is in the name.
func checkStrategy(e *validate.Errors, s coordinationv1.CoordinatedLeaseStrategy, fld *field.Path) {
	if strings.Contains(string(s), "/") {
		e.QualifiedName(fld.Child("strategy"), string(s))
		return
	}
	validate.Enum(e, fld.Child("strategy"), s, coordinationv1.OldestEmulationVersion)
}
