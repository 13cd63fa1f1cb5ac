package expressions

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	resourcev1 "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/util/validation/field"
	plugincel "k8s.io/apiserver/pkg/admission/plugin/cel"
	"k8s.io/apiserver/pkg/admission/plugin/policy/mutating"
	"k8s.io/apiserver/pkg/admission/plugin/policy/mutating/patch"
	"k8s.io/apiserver/pkg/admission/plugin/policy/validating"
	"k8s.io/apiserver/pkg/admission/plugin/webhook/matchconditions"
	"k8s.io/apiserver/pkg/cel"
	"k8s.io/apiserver/pkg/cel/environment"

	"github.com/skiffcluster/skiff/api"
)

// Attach makes the validation of a kind of admission or of devices compile its
// expressions, and leaves other kinds alone.
func Attach(k *api.Kind) {
	if k.GVK.Group == resourcev1.GroupName {
		attachDevices(k)
	}
	if k.GVK.Group != admissionregistrationv1.GroupName {
		return
	}
	create, update := k.Validate, k.ValidateUpdate
	k.Validate = func(ctx context.Context, obj runtime.Object) field.ErrorList {
		errs := create(ctx, obj)
		if m, ok := obj.(interface{ GetResourceVersion() string }); ok && m.GetResourceVersion() != "" {
			return errs // of an update, which is checked against the old object
		}
		return append(errs, check(obj, nil)...)
	}
	k.ValidateUpdate = func(ctx context.Context, obj, old runtime.Object) field.ErrorList {
		return append(update(ctx, obj, old), check(obj, old)...)
	}
}

// stateless compiles expressions without variables of their own.
var stateless = sync.OnceValue(func() plugincel.Compiler {
	return plugincel.NewCompiler(environment.MustBaseEnvSet(environment.DefaultCompatibilityVersion()))
})

// checker compiles the expressions of one object.
type checker struct {
	compiler plugincel.Compiler
	// stored are expressions that the old object has: they may use what a
	// newer server had.
	stored sets.Set[string]
	params bool
	errs   field.ErrorList
}

func check(obj, old runtime.Object) field.ErrorList {
	c := &checker{stored: sets.New[string]()}
	if old != nil {
		each(old, func(expression string) { c.stored.Insert(expression) })
	}
	switch o := obj.(type) {
	case *admissionregistrationv1.MutatingWebhookConfiguration:
		c.compiler = stateless()
		for i := range o.Webhooks {
			c.conditions(o.Webhooks[i].MatchConditions, field.NewPath("webhooks").Index(i).Child("matchConditions"))
		}
	case *admissionregistrationv1.ValidatingWebhookConfiguration:
		c.compiler = stateless()
		for i := range o.Webhooks {
			c.conditions(o.Webhooks[i].MatchConditions, field.NewPath("webhooks").Index(i).Child("matchConditions"))
		}
	case *admissionregistrationv1.ValidatingAdmissionPolicy:
		c.params = o.Spec.ParamKind != nil
		c.validating(&o.Spec)
	case *admissionregistrationv1.MutatingAdmissionPolicy:
		c.params = o.Spec.ParamKind != nil
		c.mutating(&o.Spec)
	}
	return c.errs
}

// each calls f with every expression of an object.
func each(obj runtime.Object, f func(string)) {
	conditions := func(list []admissionregistrationv1.MatchCondition) {
		for i := range list {
			f(list[i].Expression)
		}
	}
	variables := func(list []admissionregistrationv1.Variable) {
		for i := range list {
			f(list[i].Expression)
		}
	}
	switch o := obj.(type) {
	case *admissionregistrationv1.MutatingWebhookConfiguration:
		for i := range o.Webhooks {
			conditions(o.Webhooks[i].MatchConditions)
		}
	case *admissionregistrationv1.ValidatingWebhookConfiguration:
		for i := range o.Webhooks {
			conditions(o.Webhooks[i].MatchConditions)
		}
	case *admissionregistrationv1.ValidatingAdmissionPolicy:
		conditions(o.Spec.MatchConditions)
		variables(o.Spec.Variables)
		for _, v := range o.Spec.Validations {
			f(v.Expression)
			f(v.MessageExpression)
		}
		for _, a := range o.Spec.AuditAnnotations {
			f(a.ValueExpression)
		}
	case *admissionregistrationv1.MutatingAdmissionPolicy:
		conditions(o.Spec.MatchConditions)
		variables(o.Spec.Variables)
		for _, m := range o.Spec.Mutations {
			if m.JSONPatch != nil {
				f(m.JSONPatch.Expression)
			}
			if m.ApplyConfiguration != nil {
				f(m.ApplyConfiguration.Expression)
			}
		}
	}
}

// options of what expressions may use.
func (c *checker) options() plugincel.OptionalVariableDeclarations {
	return plugincel.OptionalVariableDeclarations{HasParams: c.params, HasAuthorizer: true}
}

// compile reports an expression that does not compile. Empty ones are reported
// elsewhere.
func (c *checker) compile(e plugincel.ExpressionAccessor, o plugincel.OptionalVariableDeclarations, fld *field.Path) {
	if strings.TrimSpace(e.GetExpression()) == "" {
		return
	}
	if r := c.compiler.CompileCELExpression(e, o, c.mode(e)); r.Error != nil {
		c.report(fld, e, r.Error)
	}
}

func (c *checker) mode(e plugincel.ExpressionAccessor) environment.Type {
	if c.stored.Has(e.GetExpression()) {
		return environment.StoredExpressions
	}
	return environment.NewExpressions
}

func (c *checker) report(fld *field.Path, e plugincel.ExpressionAccessor, err error) {
	var known *cel.Error
	switch {
	case !errors.As(err, &known):
		c.errs = append(c.errs, field.InternalError(fld, fmt.Errorf("unsupported error type: %w", err)))
	case known.Type == cel.ErrorTypeRequired:
		c.errs = append(c.errs, field.Required(fld, known.Detail))
	case known.Type == cel.ErrorTypeInvalid:
		c.errs = append(c.errs, field.Invalid(fld, e.GetExpression(), known.Detail))
	default:
		c.errs = append(c.errs, field.InternalError(fld, known))
	}
}

// conditions see no variables of the policy.
func (c *checker) conditions(list []admissionregistrationv1.MatchCondition, fld *field.Path) {
	policy := c.compiler
	c.compiler = stateless()
	for i := range list {
		e := &matchconditions.MatchCondition{Expression: strings.TrimSpace(list[i].Expression)}
		c.compile(e, c.options(), fld.Index(i).Child("expression"))
	}
	c.compiler = policy
}

// variables are compiled in order: each sees those before it, and what comes
// after sees all. Those of mutating policies are an object even without fields.
func (c *checker) variables(list []admissionregistrationv1.Variable, always bool, fld *field.Path, named func(admissionregistrationv1.Variable) plugincel.NamedExpressionAccessor) {
	if len(list) == 0 && !always {
		c.compiler = stateless()
		return
	}
	compiler, err := plugincel.NewCompositedCompiler(environment.MustBaseEnvSet(environment.DefaultCompatibilityVersion()))
	if err != nil {
		c.compiler = stateless()
		c.errs = append(c.errs, field.InternalError(fld, err))
		return
	}
	c.compiler = compiler
	for i, v := range list {
		if strings.TrimSpace(v.Name) == "" || strings.TrimSpace(v.Expression) == "" {
			continue
		}
		e := named(v)
		if r := compiler.CompileAndStoreVariable(e, c.options(), c.mode(e)); r.Error != nil {
			c.report(fld.Index(i).Child("expression"), e, r.Error)
		}
	}
}

func (c *checker) validating(s *admissionregistrationv1.ValidatingAdmissionPolicySpec) {
	fld := field.NewPath("spec")
	c.conditions(s.MatchConditions, fld.Child("matchConditions"))
	c.variables(s.Variables, false, fld.Child("variables"), func(v admissionregistrationv1.Variable) plugincel.NamedExpressionAccessor {
		return &validating.Variable{Name: v.Name, Expression: v.Expression}
	})
	for i, v := range s.Validations {
		p := fld.Child("validations").Index(i)
		c.compile(&validating.ValidationCondition{Expression: v.Expression}, c.options(), p.Child("expression"))
		c.compile(&validating.MessageExpressionCondition{MessageExpression: v.MessageExpression},
			plugincel.OptionalVariableDeclarations{HasParams: c.params}, p.Child("messageExpression"))
	}
	for i, a := range s.AuditAnnotations {
		c.compile(&validating.AuditAnnotationCondition{ValueExpression: strings.TrimSpace(a.ValueExpression)}, c.options(),
			fld.Child("auditAnnotations").Index(i).Child("valueExpression"))
	}
}

func (c *checker) mutating(s *admissionregistrationv1.MutatingAdmissionPolicySpec) {
	fld := field.NewPath("spec")
	c.conditions(s.MatchConditions, fld.Child("matchConditions"))
	c.variables(s.Variables, true, fld.Child("variables"), func(v admissionregistrationv1.Variable) plugincel.NamedExpressionAccessor {
		return &mutating.Variable{Name: v.Name, Expression: v.Expression}
	})
	o := c.options()
	o.HasPatchTypes = true
	for i, m := range s.Mutations {
		p := fld.Child("mutations").Index(i)
		if m.JSONPatch != nil && m.PatchType == admissionregistrationv1.PatchTypeJSONPatch {
			c.compile(&patch.JSONPatchCondition{Expression: strings.TrimSpace(m.JSONPatch.Expression)}, o, p.Child("jsonPatch", "expression"))
		}
		if m.ApplyConfiguration != nil && m.PatchType == admissionregistrationv1.PatchTypeApplyConfiguration {
			c.compile(&patch.ApplyConfigurationCondition{Expression: strings.TrimSpace(m.ApplyConfiguration.Expression)}, o, p.Child("applyConfiguration", "expression"))
		}
	}
}
