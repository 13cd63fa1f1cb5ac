package validate_test

import (
	"errors"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/skiffcluster/skiff/api/validate"
)

var p = field.NewPath("f")

// report is a case of a table: a check, and what it reports. An error that ends
// with … is compared up to there.
type report struct {
	name  string
	check func(*validate.Errors)
	want  []string
}

func check(t *testing.T, reports []report) {
	t.Helper()
	for _, r := range reports {
		t.Run(r.name, func(t *testing.T) {
			var e validate.Errors
			r.check(&e)
			var got []string
			for _, err := range e.List() {
				got = append(got, err.Error())
			}
			if e.Len() != len(got) || !slices.EqualFunc(got, r.want, matches) {
				t.Errorf("Got:\n  %s\nwant:\n  %s", strings.Join(got, "\n  "), strings.Join(r.want, "\n  "))
			}
		})
	}
}

func matches(got, want string) bool {
	if begin, cut := strings.CutSuffix(want, "…"); cut {
		return strings.HasPrefix(got, begin)
	}
	return got == want
}

func TestErrors(t *testing.T) {
	check(t, []report{
		{"nothing", func(*validate.Errors) {}, nil},
		{"missing", func(e *validate.Errors) { e.Required(p, "why") }, []string{"f: Required value: why"}},
		{"invalid", func(e *validate.Errors) { e.Invalid(p, 3, "why") }, []string{"f: Invalid value: 3: why"}},
		{"invalid with numbers", func(e *validate.Errors) { e.Invalidf(p, "a", "not %d", 4) }, []string{`f: Invalid value: "a": not 4`}},
		{"for two reasons", func(e *validate.Errors) { e.Messages(p, 3, []string{"a", "b"}) }, []string{"f: Invalid value: 3: a", "f: Invalid value: 3: b"}},
		{"forbidden", func(e *validate.Errors) { e.Forbidden(p, "why") }, []string{"f: Forbidden: why"}},
		{"twice", func(e *validate.Errors) { e.Duplicate(p, "a") }, []string{`f: Duplicate value: "a"`}},
		{"not there", func(e *validate.Errors) { e.NotFound(p, "a") }, []string{`f: Not found: "a"`}},
		{"too long", func(e *validate.Errors) { e.TooLong(p, 4) }, []string{"f: Too long: may not be more than 4 bytes"}},
		{"too many", func(e *validate.Errors) { e.TooMany(p, 5, 4) }, []string{"f: Too many: 5: must have at most 4 items"}},
		{"unknown", func(e *validate.Errors) { e.Internal(p, errors.New("why")) }, []string{"f: Internal error: why"}},
		{"of others", func(e *validate.Errors) { e.Add(field.ErrorList{field.Required(p, "")}) }, []string{"f: Required value"}},
		{"one of some", func(e *validate.Errors) { validate.Enum(e, p, "a", "b", "a") }, nil},
		{"none of some", func(e *validate.Errors) { validate.Enum(e, p, "c", "b", "a") }, []string{`f: Unsupported value: "c": supported values: "b", "a"`}},
		{"one that is needed", func(e *validate.Errors) { validate.RequiredEnum(e, p, "", "a") }, []string{"f: Required value"}},
		{"one that is needed and wrong", func(e *validate.Errors) { validate.RequiredEnum(e, p, "b", "a") }, []string{`f: Unsupported value: "b": supported values: "a"`}},
	})
}

func TestKeys(t *testing.T) {
	if got := validate.Keys(map[string]int{"b": 1, "a": 2}); !slices.Equal(got, []string{"a", "b"}) {
		t.Errorf("Keys are %v.", got)
	}
}

func TestNames(t *testing.T) {
	check(t, []report{
		{"a label", func(e *validate.Errors) { e.DNSLabel(p, "a-b") }, nil},
		{"no label", func(e *validate.Errors) { e.DNSLabel(p, "a.b") }, []string{`f: Invalid value: "a.b": must not contain dots`}},
		{"a label that is needed", func(e *validate.Errors) { e.RequiredDNSLabel(p, "") }, []string{"f: Required value"}},
		{"a label that is there", func(e *validate.Errors) { e.RequiredDNSLabel(p, "A") }, []string{`f: Invalid value: "A": a lowercase RFC 1123 label…`}},
		{"a domain", func(e *validate.Errors) { e.DNSSubdomain(p, "a.b") }, nil},
		{"no domain", func(e *validate.Errors) { e.DNSSubdomain(p, "a_b") }, []string{`f: Invalid value: "a_b": a lowercase RFC 1123 subdomain…`}},
		{"a qualified name", func(e *validate.Errors) { e.QualifiedName(p, "a.b/c") }, nil},
		{"no qualified name", func(e *validate.Errors) { e.QualifiedName(p, "a/b/c") }, []string{`f: Invalid value: "a/b/c": a valid label key…`}},
		{"a name", func(e *validate.Errors) { e.Name(p, "a.b", apivalidation.NameIsDNSSubdomain) }, nil},
		{"a name that ends early", func(e *validate.Errors) { e.Name(p, "a-", apivalidation.NameIsDNSLabel) }, []string{`f: Invalid value: "a-": a lowercase RFC 1123 label…`}},
		{"a text", func(e *validate.Errors) { e.Text(p, "a") }, nil},
		{"no text", func(e *validate.Errors) { e.Text(p, "") }, []string{"f: Required value"}},
	})
}

func TestNumbers(t *testing.T) {
	check(t, []report{
		{"zero", func(e *validate.Errors) { e.Nonnegative(p, 0) }, nil},
		{"below zero", func(e *validate.Errors) { e.Nonnegative(p, -1) }, []string{"f: Invalid value: -1: must be greater than or equal to 0"}},
		{"one", func(e *validate.Errors) { e.Positive(p, 1) }, nil},
		{"not above zero", func(e *validate.Errors) { e.Positive(p, 0) }, []string{"f: Invalid value: 0: must be greater than zero"}},
		{"at the ends", func(e *validate.Errors) { e.Between(p, 1, 1, 3); e.Between(p, 3, 1, 3) }, nil},
		{"outside", func(e *validate.Errors) { e.Between(p, 0, 1, 3); e.Between(p, 4, 1, 3) },
			[]string{"f: Invalid value: 0: must be between 1 and 3, inclusive", "f: Invalid value: 4: must be between 1 and 3, inclusive"}},
		{"a negative quantity", func(e *validate.Errors) {
			e.NonnegativeQuantity(p, resource.MustParse("0"))
			e.NonnegativeQuantity(p, resource.MustParse("-1m"))
		}, []string{`f: Invalid value: "-1m": must be greater than or equal to 0`}},
		{"ports", func(e *validate.Errors) { e.PortNumber(p, 1); e.PortNumber(p, 65535); e.PortNumber(p, 65536) },
			[]string{"f: Invalid value: 65536: must be between 1 and 65535, inclusive"}},
		{"a port by number or name", func(e *validate.Errors) {
			e.PortNumberOrName(p, intstr.FromInt32(80))
			e.PortNumberOrName(p, intstr.FromString("http"))
		}, nil},
		{"no port by number", func(e *validate.Errors) { e.PortNumberOrName(p, intstr.FromInt32(0)) },
			[]string{"f: Invalid value: 0: must be between 1 and 65535, inclusive"}},
		{"no port by name", func(e *validate.Errors) { e.PortNumberOrName(p, intstr.FromString("a--b")) },
			[]string{`f: Invalid value: "a--b": must not contain consecutive hyphens`}},
		{"neither number nor name", func(e *validate.Errors) { e.PortNumberOrName(p, intstr.IntOrString{Type: 7}) },
			[]string{"f: Internal error: unknown type: 7"}},
		{"modes", func(e *validate.Errors) {
			ok, bad := int32(0o777), int32(0o1000)
			e.FileMode(p, nil)
			e.FileMode(p, &ok)
			e.FileMode(p, &bad)
		}, []string{"f: Invalid value: 512: must be a number between 0 and 0777 (octal), both inclusive"}},
		{"users and groups", func(e *validate.Errors) {
			ok, bad := int64(0), int64(-1)
			e.UserID(p, nil)
			e.UserID(p, &ok)
			e.UserID(p, &bad)
			e.GroupID(p, nil)
			e.GroupID(p, &ok)
			e.GroupID(p, &bad)
		}, []string{"f: Invalid value: -1: must be between 0 and 2147483647, inclusive", "f: Invalid value: -1: must be between 0 and 2147483647, inclusive"}},
	})
}

func TestAddresses(t *testing.T) {
	check(t, []report{
		{"addresses", func(e *validate.Errors) { e.IP(p, "10.0.0.1"); e.IP(p, "fd00::1") }, nil},
		{"no address", func(e *validate.Errors) { e.IP(p, "x") }, []string{`f: Invalid value: "x": must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)`}},
		{"an address with zeros", func(e *validate.Errors) { e.IP(p, "010.0.0.1") }, []string{`f: Invalid value: "010.0.0.1": must not have leading 0s`}},
		{"an address of old", func(e *validate.Errors) { e.IP(p, "010.0.0.1", "010.0.0.1") }, nil},
		{"ranges", func(e *validate.Errors) { e.CIDR(p, "10.0.0.0/8"); e.CIDR(p, "fd00::/64") }, nil},
		{"no range", func(e *validate.Errors) { e.CIDR(p, "10.0.0.0") }, []string{`f: Invalid value: "10.0.0.0": must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)`}},
		{"a range of old", func(e *validate.Errors) { e.CIDR(p, "x", "x") }, nil},
	})
}

func TestResources(t *testing.T) {
	amount := func(name corev1.ResourceName, q string) func(*validate.Errors) {
		return func(e *validate.Errors) { e.ResourceValue(p, name, resource.MustParse(q)) }
	}
	pages := func(name corev1.ResourceName, q string) func(*validate.Errors) {
		return func(e *validate.Errors) { e.HugePages(p, name, resource.MustParse(q)) }
	}
	inContainer := func(name corev1.ResourceName) func(*validate.Errors) {
		return func(e *validate.Errors) { e.ContainerResourceName(p, name) }
	}
	const standard = "must be a standard resource type or fully qualified"
	check(t, []report{
		{"a part of a processor", amount("cpu", "500m"), nil},
		{"less than nothing", amount("cpu", "-1"), []string{`f: Invalid value: "-1": must be greater than or equal to 0`}},
		{"a part of a pod", amount("pods", "1500m"), []string{`f: Invalid value: "1500m": must be an integer`}},
		{"a whole device", amount("example.com/gpu", "2k"), nil},
		{"a whole device in thousandths", amount("example.com/gpu", "2000m"), nil},
		{"a part of a device", amount("example.com/gpu", "1m"), []string{`f: Invalid value: "1m": must be an integer`}},
		{"pages", pages("hugepages-2Mi", "4Mi"), nil},
		{"a part of a page", pages("hugepages-2Mi", "3Mi"), []string{`f: Invalid value: "3Mi": 3Mi is not positive integer multiple of hugepages-2Mi`}},
		{"pages of no size", pages("hugepages-x", "3Mi"), []string{`f: Invalid value: "3Mi": 3Mi is not positive integer multiple of hugepages-x`}},
		{"pages of size zero", pages("hugepages-0", "3Mi"), []string{`f: Invalid value: "3Mi": 3Mi is not positive integer multiple of hugepages-0`}},
		{"no pages", pages("memory", "3"), nil},
		{"names", func(e *validate.Errors) {
			for _, name := range []corev1.ResourceName{"cpu", "requests.cpu", "pods", "hugepages-2Mi", "requests.hugepages-2Mi", "example.com/gpu"} {
				e.ResourceName(p, name)
			}
		}, nil},
		{"an unknown name", func(e *validate.Errors) { e.ResourceName(p, "what") }, []string{`f: Invalid value: "what": ` + standard}},
		{"no name", func(e *validate.Errors) { e.ResourceName(p, "a b") }, []string{`f: Invalid value: "a b": name part must consist of…`}},
		{"a container's resource", inContainer("ephemeral-storage"), nil},
		{"a container's device", inContainer("example.com/gpu"), nil},
		{"a container's pods", inContainer("pods"), []string{`f: Invalid value: "pods": must be a standard resource for containers`}},
		{"a container's unknown", inContainer("what"), []string{`f: Invalid value: "what": ` + standard, `f: Invalid value: "what": must be a standard resource for containers`}},
		{"a container's quota", inContainer("requests.example.com/gpu"), []string{`f: Invalid value: "requests.example.com/gpu": doesn't follow extended resource name standard`}},
	})
	if !validate.Overcommits("cpu") || validate.Overcommits("hugepages-2Mi") || validate.Overcommits("example.com/gpu") {
		t.Error("Only what is native and not pages can be overcommitted.")
	}
	if !validate.IsNative("kubernetes.io/x") || validate.IsExtended("kubernetes.io/x") || !validate.IsExtended("a/b") {
		t.Error("Resources of Kubernetes are native.")
	}
}

func TestAmounts(t *testing.T) {
	number := func(v intstr.IntOrString) func(*validate.Errors) {
		return func(e *validate.Errors) { e.IntOrPercent(p, &v) }
	}
	check(t, []report{
		{"nothing", func(e *validate.Errors) { e.IntOrPercent(p, nil); e.AtMostAll(p, nil) }, nil},
		{"a number", number(intstr.FromInt32(0)), nil},
		{"a percentage", number(intstr.FromString("150%")), nil},
		{"below zero", number(intstr.FromInt32(-1)), []string{"f: Invalid value: -1: must be greater than or equal to 0"}},
		{"neither", number(intstr.FromString("x")), []string{`f: Invalid value: "x": a valid percent string must be a numeric string followed by an ending '%'…`}},
		{"unknown", number(intstr.IntOrString{Type: 7}), []string{`f: Invalid value: …`}},
		{"all", func(e *validate.Errors) { v := intstr.FromString("100%"); e.AtMostAll(p, &v) }, nil},
		{"more than all", func(e *validate.Errors) { v := intstr.FromString("101%"); e.AtMostAll(p, &v) },
			[]string{`f: Invalid value: "101%": must not be greater than 100%`}},
	})
}
