package admissionregistration

import (
	"regexp"
	"strings"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/skiffcluster/skiff/api"
	"github.com/skiffcluster/skiff/api/validate"
)

func defaultMatch(m *admissionregistrationv1.MatchResources) {
	if m == nil {
		return
	}
	set(&m.MatchPolicy, admissionregistrationv1.Equivalent)
	defaultSelector(&m.NamespaceSelector)
	defaultSelector(&m.ObjectSelector)
	for _, rules := range [][]admissionregistrationv1.NamedRuleWithOperations{m.ResourceRules, m.ExcludeResourceRules} {
		for i := range rules {
			defaultRule(&rules[i].Rule)
		}
	}
}

func checkMatch(e *validate.Errors, m *admissionregistrationv1.MatchResources, fld *field.Path) {
	if m == nil {
		return
	}
	if m.MatchPolicy == nil {
		e.Required(fld.Child("matchPolicy"), "")
	} else {
		checkMatchPolicy(e, *m.MatchPolicy, fld.Child("matchPolicy"))
	}
	if m.NamespaceSelector == nil {
		e.Required(fld.Child("namespaceSelector"), "")
	}
	checkSelector(e, m.NamespaceSelector, false, fld.Child("namespaceSelector"))
	if m.ObjectSelector == nil {
		e.Required(fld.Child("objectSelector"), "")
	}
	checkSelector(e, m.ObjectSelector, false, fld.Child("objectSelector"))
	for i := range m.ResourceRules {
		checkNamedRule(e, &m.ResourceRules[i], fld.Child("resourceRules").Index(i))
	}
	for i := range m.ExcludeResourceRules {
		checkNamedRule(e, &m.ExcludeResourceRules[i], fld.Child("excludeResourceRules").Index(i))
	}
}

func checkNamedRule(e *validate.Errors, r *admissionregistrationv1.NamedRuleWithOperations, fld *field.Path) {
	names := sets.New[string]()
	for i, name := range r.ResourceNames {
		p := fld.Child("resourceNames").Index(i)
		e.Name(p, name, validate.PathSegment)
		if names.Has(name) {
			e.Duplicate(p, name)
		}
		names.Insert(name)
	}
	checkOperations(e, &r.RuleWithOperations, fld)
}

// checkConstraints checks what a policy is about.
func checkConstraints(e *validate.Errors, m *admissionregistrationv1.MatchResources, fld *field.Path) {
	if m == nil {
		e.Required(fld, "")
		return
	}
	checkMatch(e, m, fld)
	if len(m.ResourceRules) == 0 {
		e.Required(fld.Child("resourceRules"), "")
	}
}

// checkMutable refuses operations without an object that could be changed.
func checkMutable(e *validate.Errors, m *admissionregistrationv1.MatchResources, fld *field.Path) {
	if m == nil {
		return
	}
	for _, rule := range m.ResourceRules {
		for _, op := range rule.Operations {
			validate.Enum(e, fld.Child("resourceRules", "operations"), op,
				admissionregistrationv1.OperationAll, admissionregistrationv1.Connect, admissionregistrationv1.Create, admissionregistrationv1.Update)
		}
	}
}

func checkPolicyFailure(e *validate.Errors, p *admissionregistrationv1.FailurePolicyType, fld *field.Path) {
	if p == nil {
		e.Required(fld, "")
		return
	}
	checkFailurePolicy(e, *p, fld)
}

func checkParamKind(e *validate.Errors, k *admissionregistrationv1.ParamKind, fld *field.Path) {
	if k == nil {
		return
	}
	p := fld.Child("apiVersion")
	group, version, split := strings.Cut(k.APIVersion, "/")
	if !split {
		group, version = "", k.APIVersion
	}
	switch {
	case k.APIVersion == "":
		e.Required(p, "")
	case strings.Count(k.APIVersion, "/") > 1:
		e.Invalid(p, k.APIVersion, "unexpected GroupVersion string: "+k.APIVersion)
	default:
		if msgs := validation.IsDNS1123Subdomain(group); group != "" && len(msgs) > 0 {
			e.Invalid(p, group, strings.Join(msgs, ","))
		}
		if version == "" {
			e.Invalid(p, k.APIVersion, "version must be specified")
		} else if msgs := validation.IsDNS1035Label(version); len(msgs) > 0 {
			e.Invalid(p, version, strings.Join(msgs, ","))
		}
	}
	if k.Kind == "" {
		e.Required(fld.Child("kind"), "")
	} else if msgs := validation.IsDNS1035Label(strings.ToLower(k.Kind)); len(msgs) > 0 {
		e.Invalid(fld.Child("kind"), k.Kind, "may have mixed case, but should otherwise match: "+strings.Join(msgs, ","))
	}
}

var (
	identifier = regexp.MustCompile("^[_a-zA-Z][_a-zA-Z0-9]*$")
	// reservedWords of CEL are no identifiers.
	reservedWords = sets.New("true", "false", "null", "in", "as", "break", "const", "continue", "else", "for", "function", "if",
		"import", "let", "loop", "package", "namespace", "return", "var", "void", "while")
)

// checkVariables checks all of them but that their expressions compile.
func checkVariables(e *validate.Errors, variables []admissionregistrationv1.Variable, fld *field.Path) {
	for i, v := range variables {
		p := fld.Index(i)
		if strings.TrimSpace(v.Name) == "" {
			e.Required(p.Child("name"), "name is not specified")
		} else if !identifier.MatchString(v.Name) || reservedWords.Has(v.Name) {
			e.Invalid(p.Child("name"), v.Name, "must be a valid CEL identifier")
		}
		if strings.TrimSpace(v.Expression) == "" {
			e.Required(p.Child("expression"), "expression is not specified")
		}
	}
}

func checkPolicyName(e *validate.Errors, name string, fld *field.Path) {
	if name == "" {
		e.Required(fld, "")
		return
	}
	e.Name(fld, name, apivalidation.NameIsDNSSubdomain)
}

func checkParamRef(e *validate.Errors, r *admissionregistrationv1.ParamRef, fld *field.Path) {
	if r == nil {
		return
	}
	const exclusive = "name and selector are mutually exclusive"
	if r.Name != "" {
		e.Name(fld.Child("name"), r.Name, validate.PathSegment)
		if r.Selector != nil {
			e.Forbidden(fld.Child("name"), exclusive)
		}
	}
	if r.Selector != nil {
		checkSelector(e, r.Selector, false, fld.Child("selector"))
		if r.Name != "" {
			e.Forbidden(fld.Child("selector"), exclusive)
		}
	}
	if r.Name == "" && r.Selector == nil {
		e.Required(fld, "one of name or selector must be specified")
	}
	p := fld.Child("parameterNotFoundAction")
	if a := r.ParameterNotFoundAction; a == nil || *a == "" {
		e.Required(p, "")
	} else {
		validate.Enum(e, p, *a, admissionregistrationv1.DenyAction, admissionregistrationv1.AllowAction)
	}
}

const unset = "<unset>"

func paramKindColumn[T any](kind func(*T) *admissionregistrationv1.ParamKind) api.Column[T] {
	return api.Column[T]{
		Name: "ParamKind", Description: "ParamKind specifies the kind of resources used to parameterize this policy",
		Value: func(obj *T) any {
			k := kind(obj)
			if k == nil {
				return unset
			}
			return k.APIVersion + "/" + k.Kind
		},
	}
}

func policyColumn[T any](name func(*T) string) api.Column[T] {
	return api.Column[T]{
		Name: "PolicyName", Description: "PolicyName indicates the policy definition which the policy binding binded to",
		Value: func(obj *T) any { return name(obj) },
	}
}

func paramRefColumn[T any](ref func(*T) *admissionregistrationv1.ParamRef) api.Column[T] {
	return api.Column[T]{
		Name: "ParamRef", Description: "ParamRef indicates the param resource which sets the configuration param",
		Value: func(obj *T) any {
			r := ref(obj)
			switch {
			case r == nil:
				return unset
			case r.Name != "" && r.Namespace != "":
				return r.Namespace + "/" + r.Name
			case r.Name != "":
				// Whether parameters are namespaced is not known here.
				return "*/" + r.Name
			case r.Selector != nil:
				return r.Selector.String()
			}
			return unset
		},
	}
}
