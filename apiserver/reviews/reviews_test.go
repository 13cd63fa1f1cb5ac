package reviews_test

import (
	"testing"

	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/skiffcluster/skiff/cluster/clustertest"
)

func TestAccessReviews(t *testing.T) {
	t.Parallel()
	k, err := kubernetes.NewForConfig(clustertest.APIServer(t).RESTConfig())
	if err != nil {
		t.Fatal(err)
	}
	pods := authorizationv1.ResourceAttributes{Namespace: "a", Verb: "list", Resource: "pods"}
	with := func(change func(*authorizationv1.ResourceAttributes)) *authorizationv1.ResourceAttributes {
		out := pods
		change(&out)
		return &out
	}
	key := func(operator metav1.LabelSelectorOperator) metav1.LabelSelectorRequirement {
		return metav1.LabelSelectorRequirement{Key: "a", Operator: operator, Values: []string{"b"}}
	}
	for _, c := range []struct {
		name         string
		spec         authorizationv1.SubjectAccessReviewSpec
		meta         metav1.ObjectMeta
		refused      string
		notEvaluated string
	}{
		{"a question of nobody", authorizationv1.SubjectAccessReviewSpec{ResourceAttributes: &pods}, metav1.ObjectMeta{},
			`.authorization.k8s.io "" is invalid: spec.user: Invalid value: "": at least one of user or group must be specified`, ""},
		{"a question of nothing", authorizationv1.SubjectAccessReviewSpec{User: "ann"}, metav1.ObjectMeta{},
			`.authorization.k8s.io "" is invalid: spec: Invalid value: null: exactly one of nonResourceAttributes or resourceAttributes must be specified`, ""},
		{"a selector in both forms", authorizationv1.SubjectAccessReviewSpec{User: "ann", ResourceAttributes: with(func(r *authorizationv1.ResourceAttributes) {
			r.LabelSelector = &authorizationv1.LabelSelectorAttributes{RawSelector: "a=b", Requirements: []metav1.LabelSelectorRequirement{key(metav1.LabelSelectorOpIn)}}
		})}, metav1.ObjectMeta{}, `.authorization.k8s.io "" is invalid: spec.resourceAttributes.labelSelector.rawSelector: Invalid value: "a=b": may not specified at the same time as requirements`, ""},
		{"a selector in no form", authorizationv1.SubjectAccessReviewSpec{User: "ann", ResourceAttributes: with(func(r *authorizationv1.ResourceAttributes) {
			r.FieldSelector = &authorizationv1.FieldSelectorAttributes{}
		})}, metav1.ObjectMeta{}, `.authorization.k8s.io "" is invalid: spec.resourceAttributes.fieldSelector.requirements: Required value: when spec.resourceAttributes.fieldSelector is specified, requirements or rawSelector is required`, ""},
		{"a part of a selector that is not known", authorizationv1.SubjectAccessReviewSpec{User: "ann", ResourceAttributes: with(func(r *authorizationv1.ResourceAttributes) {
			r.LabelSelector = &authorizationv1.LabelSelectorAttributes{Requirements: []metav1.LabelSelectorRequirement{key(metav1.LabelSelectorOpIn), key("Near")}}
		})}, metav1.ObjectMeta{}, "", "spec.resourceAttributes.labelSelector partially ignored due to parse error"},
		{"a selector that cannot be read", authorizationv1.SubjectAccessReviewSpec{User: "ann", ResourceAttributes: with(func(r *authorizationv1.ResourceAttributes) {
			r.FieldSelector = &authorizationv1.FieldSelectorAttributes{RawSelector: "a"}
		})}, metav1.ObjectMeta{}, "", "spec.resourceAttributes.fieldSelector ignored due to parse error"},
		{"a selector that is understood", authorizationv1.SubjectAccessReviewSpec{User: "ann", ResourceAttributes: with(func(r *authorizationv1.ResourceAttributes) {
			r.FieldSelector = &authorizationv1.FieldSelectorAttributes{RawSelector: "a=b"}
		})}, metav1.ObjectMeta{}, "", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := k.AuthorizationV1().SubjectAccessReviews().Create(t.Context(), &authorizationv1.SubjectAccessReview{ObjectMeta: c.meta, Spec: c.spec}, metav1.CreateOptions{})
			if c.refused != "" {
				if !apierrors.IsInvalid(err) || err.Error() != c.refused {
					t.Errorf("%v", err)
				}
				return
			}
			if err != nil || got.Status.EvaluationError != c.notEvaluated {
				t.Errorf("%v %+v", err, got)
			}
		})
	}
	named := &authorizationv1.SelfSubjectAccessReview{ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"a": "b"}}, Spec: authorizationv1.SelfSubjectAccessReviewSpec{ResourceAttributes: &pods}}
	if _, err := k.AuthorizationV1().SelfSubjectAccessReviews().Create(t.Context(), named, metav1.CreateOptions{}); !apierrors.IsInvalid(err) {
		t.Errorf("a review with labels: %v", err)
	}
	local := &authorizationv1.LocalSubjectAccessReview{Spec: authorizationv1.SubjectAccessReviewSpec{User: "ann", ResourceAttributes: with(func(r *authorizationv1.ResourceAttributes) { r.Namespace = "b" })}}
	if _, err := k.AuthorizationV1().LocalSubjectAccessReviews("a").Create(t.Context(), local, metav1.CreateOptions{}); !apierrors.IsInvalid(err) {
		t.Errorf("a review of another namespace: %v", err)
	}
}

func TestWhatReviewsRepeat(t *testing.T) {
	t.Parallel()
	k, err := kubernetes.NewForConfig(clustertest.APIServer(t).RESTConfig())
	if err != nil {
		t.Fatal(err)
	}
	self, err := k.AuthenticationV1().SelfSubjectReviews().Create(t.Context(), &authenticationv1.SelfSubjectReview{ObjectMeta: metav1.ObjectMeta{Name: "me"}}, metav1.CreateOptions{})
	if err != nil || self.Name != "" || self.CreationTimestamp.IsZero() || self.Status.UserInfo.Username == "" {
		t.Errorf("%v %+v", err, self)
	}
	rules, err := k.AuthorizationV1().SelfSubjectRulesReviews().Create(t.Context(), &authorizationv1.SelfSubjectRulesReview{Spec: authorizationv1.SelfSubjectRulesReviewSpec{Namespace: "a"}}, metav1.CreateOptions{})
	if err != nil || rules.Spec.Namespace != "" || len(rules.Status.ResourceRules) == 0 {
		t.Errorf("%v %+v", err, rules)
	}
	token, err := k.AuthenticationV1().TokenReviews().Create(t.Context(), &authenticationv1.TokenReview{Spec: authenticationv1.TokenReviewSpec{Token: "word"}}, metav1.CreateOptions{})
	if err != nil || token.Status.Authenticated || token.Status.Error != "invalid bearer token" {
		t.Errorf("%v %+v", err, token)
	}
}
