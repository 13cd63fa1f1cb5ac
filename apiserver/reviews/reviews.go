// Package reviews answers questions about identity and rights that clients
// send as objects: TokenReview, SelfSubjectReview and the four reviews of
// authorization.k8s.io. Nothing is stored.
//
// Reads and writes nothing. Start at New.
package reviews

import (
	"context"
	"fmt"
	"strings"

	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/apiserver/pkg/authentication/authenticator"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/authorization/authorizer"
	"k8s.io/apiserver/pkg/endpoints/request"
	"k8s.io/apiserver/pkg/registry/rest"

	"github.com/skiffcluster/skiff/apiserver/auth"
)

// Deps is what the answers come from.
type Deps struct {
	Tokens     authenticator.Token
	Audiences  authenticator.Audiences
	Authorizer authorizer.UnconditionalAuthorizer
	Rules      authorizer.RuleResolver
}

// New gives the storage of each group and version.
func New(d Deps) map[schema.GroupVersion]map[string]rest.Storage {
	return map[schema.GroupVersion]map[string]rest.Storage{
		authenticationv1.SchemeGroupVersion: {
			"tokenreviews": &review[authenticationv1.TokenReview]{
				singular: "tokenreview", answer: d.token,
			},
			"selfsubjectreviews": &review[authenticationv1.SelfSubjectReview]{
				singular: "selfsubjectreview", answer: selfSubject,
			},
		},
		authorizationv1.SchemeGroupVersion: {
			"subjectaccessreviews": &review[authorizationv1.SubjectAccessReview]{
				singular: "subjectaccessreview", check: checkAccess, answer: d.subjectAccess,
			},
			"selfsubjectaccessreviews": &review[authorizationv1.SelfSubjectAccessReview]{
				singular: "selfsubjectaccessreview", check: checkSelfAccess, answer: d.selfSubjectAccess,
			},
			"localsubjectaccessreviews": &review[authorizationv1.LocalSubjectAccessReview]{
				singular: "localsubjectaccessreview", namespaced: true, check: checkLocalAccess, answer: d.localSubjectAccess,
			},
			"selfsubjectrulesreviews": &review[authorizationv1.SelfSubjectRulesReview]{
				singular: "selfsubjectrulesreview", answer: d.selfSubjectRules,
			},
		},
	}
}

// review is a kind that can only be created, and whose status is the answer.
type review[T any] struct {
	singular   string
	namespaced bool
	check      func(*T) field.ErrorList // nil: nothing is to be checked
	answer     func(context.Context, *T) error
}

func (r *review[T]) New() runtime.Object     { return any(new(T)).(runtime.Object) }
func (r *review[T]) Destroy()                {}
func (r *review[T]) NamespaceScoped() bool   { return r.namespaced }
func (r *review[T]) GetSingularName() string { return r.singular }

func (r *review[T]) Create(ctx context.Context, obj runtime.Object, validate rest.ValidateObjectFunc, _ *metav1.CreateOptions) (runtime.Object, error) {
	t, ok := any(obj).(*T)
	if !ok {
		return nil, apierrors.NewBadRequest(fmt.Sprintf("not a %s: %#v", r.singular, obj))
	}
	if r.check != nil {
		if errs := r.check(t); len(errs) > 0 {
			// Kubernetes does not say which of the kinds it is.
			return nil, apierrors.NewInvalid(authorizationv1.SchemeGroupVersion.WithKind("").GroupKind(), "", errs)
		}
	}
	if validate != nil {
		if err := validate(ctx, obj.DeepCopyObject()); err != nil {
			return nil, err
		}
	}
	return obj, r.answer(ctx, t)
}

func (d Deps) token(ctx context.Context, r *authenticationv1.TokenReview) error {
	if r.Spec.Token == "" {
		return apierrors.NewBadRequest("token is required for TokenReview in authentication")
	}
	if d.Tokens == nil {
		return nil
	}
	r.Status = auth.Review(ctx, d.Tokens, r, d.Audiences)
	return nil
}

func selfSubject(ctx context.Context, r *authenticationv1.SelfSubjectReview) error {
	u, ok := request.UserFrom(ctx)
	if !ok {
		return apierrors.NewBadRequest("no user present on request")
	}
	*r = authenticationv1.SelfSubjectReview{ObjectMeta: metav1.ObjectMeta{CreationTimestamp: metav1.Now()}}
	r.Status.UserInfo = authenticationv1.UserInfo{Username: u.GetName(), UID: u.GetUID(), Groups: u.GetGroups()}
	if len(u.GetExtra()) > 0 {
		r.Status.UserInfo.Extra = map[string]authenticationv1.ExtraValue{}
		for k, v := range u.GetExtra() {
			r.Status.UserInfo.Extra[k] = v
		}
	}
	return nil
}

func (d Deps) subjectAccess(ctx context.Context, r *authorizationv1.SubjectAccessReview) error {
	r.Status = d.decide(ctx, subject(&r.Spec), r.Spec.ResourceAttributes, r.Spec.NonResourceAttributes)
	return nil
}

func (d Deps) localSubjectAccess(ctx context.Context, r *authorizationv1.LocalSubjectAccessReview) error {
	if namespace := request.NamespaceValue(ctx); namespace != r.Namespace {
		return apierrors.NewBadRequest("spec.resourceAttributes.namespace must match namespace: " + namespace)
	}
	r.Status = d.decide(ctx, subject(&r.Spec), r.Spec.ResourceAttributes, nil)
	return nil
}

func (d Deps) selfSubjectAccess(ctx context.Context, r *authorizationv1.SelfSubjectAccessReview) error {
	u, ok := request.UserFrom(ctx)
	if !ok {
		return apierrors.NewBadRequest("no user present on request")
	}
	r.Status = d.decide(ctx, u, r.Spec.ResourceAttributes, r.Spec.NonResourceAttributes)
	return nil
}

func (d Deps) selfSubjectRules(ctx context.Context, r *authorizationv1.SelfSubjectRulesReview) error {
	if r.Spec.Namespace == "" {
		return apierrors.NewBadRequest("no namespace on request")
	}
	u, ok := request.UserFrom(ctx)
	if !ok {
		return apierrors.NewBadRequest("no user present on request")
	}
	resources, others, incomplete, err := d.Rules.RulesFor(ctx, u, r.Spec.Namespace)
	st := authorizationv1.SubjectRulesReviewStatus{
		ResourceRules: []authorizationv1.ResourceRule{}, NonResourceRules: []authorizationv1.NonResourceRule{}, Incomplete: incomplete,
	}
	if err != nil {
		st.EvaluationError = err.Error()
	}
	for _, rule := range resources {
		st.ResourceRules = append(st.ResourceRules, authorizationv1.ResourceRule{
			Verbs: rule.GetVerbs(), APIGroups: rule.GetAPIGroups(), Resources: rule.GetResources(), ResourceNames: rule.GetResourceNames(),
		})
	}
	for _, rule := range others {
		st.NonResourceRules = append(st.NonResourceRules, authorizationv1.NonResourceRule{
			Verbs: rule.GetVerbs(), NonResourceURLs: rule.GetNonResourceURLs(),
		})
	}
	*r = authorizationv1.SelfSubjectRulesReview{Status: st} // Kubernetes does not repeat the question
	return nil
}

func subject(s *authorizationv1.SubjectAccessReviewSpec) user.Info {
	u := &user.DefaultInfo{Name: s.User, UID: s.UID, Groups: s.Groups, Extra: map[string][]string{}}
	for k, v := range s.Extra {
		u.Extra[k] = v
	}
	return u
}

func (d Deps) decide(ctx context.Context, u user.Info, r *authorizationv1.ResourceAttributes, n *authorizationv1.NonResourceAttributes) authorizationv1.SubjectAccessReviewStatus {
	a := attributes(u, r, n)
	decision, reason, err := d.Authorizer.Authorize(ctx, a)
	st := authorizationv1.SubjectAccessReviewStatus{
		Allowed: decision == authorizer.DecisionAllow,
		Denied:  decision == authorizer.DecisionDeny,
		Reason:  reason,
	}
	st.EvaluationError = strings.Join(ignored(err, &a), "; ")
	return st
}

func attributes(u user.Info, r *authorizationv1.ResourceAttributes, n *authorizationv1.NonResourceAttributes) authorizer.AttributesRecord {
	if r == nil {
		return authorizer.AttributesRecord{User: u, Verb: n.Verb, Path: n.Path}
	}
	version := r.Version
	if version == "" {
		version = "*"
	}
	a := authorizer.AttributesRecord{
		User: u, Verb: r.Verb, Namespace: r.Namespace, APIGroup: r.Group, APIVersion: version,
		Resource: r.Resource, Subresource: r.Subresource, Name: r.Name, ResourceRequest: true,
	}
	if r.FieldSelector != nil {
		a.FieldSelectorRequirements, a.FieldSelectorParsingErr = fieldRequirements(r.FieldSelector)
	}
	if r.LabelSelector != nil {
		a.LabelSelectorRequirements, a.LabelSelectorParsingErr = labelRequirements(r.LabelSelector)
	}
	return a
}
