package admissionregistration

import (
	"fmt"
	"net/url"
	"slices"
	"strings"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	metav1validation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/utils/ptr"

	"github.com/skiffcluster/skiff/api"
	"github.com/skiffcluster/skiff/api/validate"
)

// reviewVersions are the versions of AdmissionReview that are understood.
var reviewVersions = []string{"v1", "v1beta1"}

// webhook is what both kinds of webhooks have.
type webhook struct {
	name                              string
	client                            *admissionregistrationv1.WebhookClientConfig
	rules                             []admissionregistrationv1.RuleWithOperations
	failure                           **admissionregistrationv1.FailurePolicyType
	match                             **admissionregistrationv1.MatchPolicyType
	namespaceSelector, objectSelector **metav1.LabelSelector
	sideEffects                       *admissionregistrationv1.SideEffectClass
	timeout                           **int32
	versions                          []string
	conditions                        []admissionregistrationv1.MatchCondition
	reinvocation                      *admissionregistrationv1.ReinvocationPolicyType
}

// setDefaults fills in what a webhook leaves out.
func (w webhook) setDefaults() {
	set(w.failure, admissionregistrationv1.Fail)
	set(w.match, admissionregistrationv1.Equivalent)
	defaultSelector(w.namespaceSelector)
	defaultSelector(w.objectSelector)
	set(w.timeout, 10)
	for i := range w.rules {
		defaultRule(&w.rules[i].Rule)
	}
	if s := w.client.Service; s != nil && s.Port == nil {
		s.Port = ptr.To[int32](443)
	}
}

func set[T any](field **T, value T) {
	if *field == nil {
		*field = &value
	}
}

// tolerated are faults that an object may keep because it had them before.
type tolerated struct{ sideEffects, versions, names, selectors bool }

// faultsOf gives the faults that an update of such webhooks may leave.
func faultsOf(hooks []webhook) tolerated {
	var t tolerated
	names := sets.New[string]()
	for _, w := range hooks {
		if w.sideEffects == nil || !slices.Contains(noSideEffects, *w.sideEffects) {
			t.sideEffects = true
		}
		if len(w.versions) > 0 && !slices.ContainsFunc(w.versions, accepted) {
			t.versions = true
		}
		t.names = t.names || names.Has(w.name)
		names.Insert(w.name)
		for _, s := range []*metav1.LabelSelector{*w.namespaceSelector, *w.objectSelector} {
			if s != nil && len(metav1validation.ValidateLabelSelector(s, metav1validation.LabelSelectorValidationOptions{}, nil)) > 0 {
				t.selectors = true
			}
		}
	}
	return t
}

var (
	noSideEffects = []admissionregistrationv1.SideEffectClass{admissionregistrationv1.SideEffectClassNone, admissionregistrationv1.SideEffectClassNoneOnDryRun}
	// sideEffects are what old objects may have.
	sideEffects = []admissionregistrationv1.SideEffectClass{
		admissionregistrationv1.SideEffectClassNone, admissionregistrationv1.SideEffectClassNoneOnDryRun,
		admissionregistrationv1.SideEffectClassSome, admissionregistrationv1.SideEffectClassUnknown,
	}
)

func accepted(version string) bool { return slices.Contains(reviewVersions, version) }

func checkWebhooks(hooks []webhook, t tolerated) field.ErrorList {
	var e validate.Errors
	names := sets.New[string]()
	for i, w := range hooks {
		fld := field.NewPath("webhooks").Index(i)
		checkWebhook(&e, w, t, fld)
		checkVersions(&e, w.versions, t, fld.Child("admissionReviewVersions"))
		if t.names || w.name == "" {
			continue
		}
		if names.Has(w.name) {
			e.Duplicate(fld.Child("name"), w.name)
		}
		names.Insert(w.name)
	}
	return e.List()
}

func checkWebhook(e *validate.Errors, w webhook, t tolerated, fld *field.Path) {
	e.Add(validation.IsFullyQualifiedName(fld.Child("name"), w.name))
	for i := range w.rules {
		checkOperations(e, &w.rules[i], fld.Child("rules").Index(i))
	}
	if p := *w.failure; p != nil {
		checkFailurePolicy(e, *p, fld.Child("failurePolicy"))
	}
	if p := *w.match; p != nil {
		checkMatchPolicy(e, *p, fld.Child("matchPolicy"))
	}
	allowed := noSideEffects
	if t.sideEffects {
		allowed = sideEffects
	}
	if w.sideEffects == nil {
		texts := make([]string, len(allowed))
		for i, a := range allowed {
			texts[i] = string(a)
		}
		e.Required(fld.Child("sideEffects"), "must specify one of "+strings.Join(texts, ", "))
	} else {
		validate.Enum(e, fld.Child("sideEffects"), *w.sideEffects, allowed...)
	}
	if s := *w.timeout; s != nil && (*s > 30 || *s < 1) {
		e.Invalid(fld.Child("timeoutSeconds"), *s, "the timeout value must be between 1 and 30 seconds")
	}
	checkSelector(e, *w.namespaceSelector, t.selectors, fld.Child("namespaceSelector"))
	checkSelector(e, *w.objectSelector, t.selectors, fld.Child("objectSelector"))
	if w.reinvocation != nil {
		validate.Enum(e, fld.Child("reinvocationPolicy"), *w.reinvocation,
			admissionregistrationv1.IfNeededReinvocationPolicy, admissionregistrationv1.NeverReinvocationPolicy)
	}
	checkClient(e, w.client, fld.Child("clientConfig"))
	checkMatchConditions(e, w.conditions, fld.Child("matchConditions"))
}

func checkVersions(e *validate.Errors, versions []string, t tolerated, fld *field.Path) {
	if len(versions) == 0 {
		e.Required(fld, "must specify one of "+strings.Join(reviewVersions, ", "))
		return
	}
	seen := sets.New[string]()
	for i, v := range versions {
		if seen.Has(v) {
			e.Invalid(fld.Index(i), v, "duplicate version")
			continue
		}
		seen.Insert(v)
		e.Messages(fld.Index(i), v, validation.IsDNS1035Label(v))
	}
	if !t.versions && !slices.ContainsFunc(versions, accepted) {
		e.Invalid(fld, versions, "must include at least one of "+strings.Join(reviewVersions, ", "))
	}
}

// checkClient checks where a webhook is.
func checkClient(e *validate.Errors, c *admissionregistrationv1.WebhookClientConfig, fld *field.Path) {
	switch {
	case (c.URL == nil) == (c.Service == nil):
		e.Required(fld, "exactly one of url or service is required")
	case c.URL != nil:
		checkURL(e, *c.URL, fld.Child("url"))
	default:
		checkService(e, c.Service, fld.Child("service"))
	}
}

func checkURL(e *validate.Errors, text string, fld *field.Path) {
	const form = "; desired format: https://host[/path]"
	u, err := url.Parse(text)
	if err != nil {
		e.Required(fld, "url must be a valid URL: "+err.Error()+form)
		return
	}
	if u.Scheme != "https" {
		e.Invalid(fld, u.Scheme, "'https' is the only allowed URL scheme"+form)
	}
	if u.Host == "" {
		e.Invalid(fld, u.Host, "host must be specified"+form)
	}
	if u.User != nil {
		e.Invalid(fld, u.User.String(), "user information is not permitted in the URL")
	}
	if u.Fragment != "" {
		e.Invalid(fld, u.Fragment, "fragments are not permitted in the URL")
	}
	if u.RawQuery != "" {
		e.Invalid(fld, u.RawQuery, "query parameters are not permitted in the URL")
	}
}

func checkService(e *validate.Errors, s *admissionregistrationv1.ServiceReference, fld *field.Path) {
	e.Text(fld.Child("name"), s.Name)
	e.Text(fld.Child("namespace"), s.Namespace)
	port := ptr.Deref(s.Port, 443)
	if msgs := validation.IsValidPortNum(int(port)); len(msgs) > 0 {
		e.Invalid(fld.Child("port"), port, "port is not valid: "+strings.Join(msgs, ", "))
	}
	path := ptr.Deref(s.Path, "")
	if path == "" || path == "/" {
		return
	}
	p := fld.Child("path")
	if path == "//" {
		e.Invalid(p, path, "segment[0] may not be empty")
		return
	}
	if !strings.HasPrefix(path, "/") {
		e.Invalid(p, path, "must start with a '/'")
	}
	for i, step := range strings.Split(strings.TrimSuffix(path[1:], "/"), "/") {
		if step == "" {
			e.Invalid(p, path, fmt.Sprintf("segment[%d] may not be empty", i))
			continue
		}
		for _, msg := range validation.IsDNS1123Subdomain(step) {
			e.Invalid(p, path, fmt.Sprintf("segment[%d]: %v", i, msg))
		}
	}
}

// countColumn shows how many entries an object has.
func countColumn[T any](name, description string, count func(*T) int) api.Column[T] {
	return api.Column[T]{
		Name: name, Type: "integer", Description: description,
		Value: func(obj *T) any { return int64(count(obj)) },
	}
}
