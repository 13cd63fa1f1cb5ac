// Package accounts serves what only service accounts have: TokenRequest, which
// gives a signed token for an account.
//
// Reads ServiceAccounts and what tokens are bound to. Writes nothing.
package accounts

import (
	"context"
	"fmt"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/apiserver/pkg/endpoints/request"
	"k8s.io/apiserver/pkg/registry/rest"
	"k8s.io/apiserver/pkg/warning"

	"github.com/skiffcluster/skiff/apiserver/auth"
)

// Bounds of a token's lifetime
// (https://kubernetes.io/docs/reference/kubernetes-api/authentication-resources/token-request-v1/).
const (
	minSeconds = 600
	maxSeconds = 1 << 32
)

// Token is the storage of serviceaccounts/token.
type Token struct {
	Tokens  *auth.Tokens
	Objects auth.Objects
}

var (
	_ rest.NamedCreater             = &Token{}
	_ rest.GroupVersionKindProvider = &Token{}

	_ rest.SubresourceObjectMetaPreserver = &Token{}
)

var kind = authenticationv1.SchemeGroupVersion.WithKind("TokenRequest")

// New implements rest.Storage.
func (t *Token) New() runtime.Object { return &authenticationv1.TokenRequest{} }

// Destroy implements rest.Storage.
func (t *Token) Destroy() {}

// GroupVersionKind implements rest.GroupVersionKindProvider.
func (t *Token) GroupVersionKind(schema.GroupVersion) schema.GroupVersionKind { return kind }

// PreserveRequestObjectMetaSystemFieldsOnSubresourceCreate implements
// rest.SubresourceObjectMetaPreserver: a request may say which account it means
// by its UID.
func (t *Token) PreserveRequestObjectMetaSystemFieldsOnSubresourceCreate() bool { return true }

// Create implements rest.NamedCreater.
func (t *Token) Create(ctx context.Context, name string, obj runtime.Object, validate rest.ValidateObjectFunc, _ *metav1.CreateOptions) (runtime.Object, error) {
	req, ok := obj.(*authenticationv1.TokenRequest)
	if !ok {
		return nil, apierrors.NewBadRequest(fmt.Sprintf("not a TokenRequest: %T", obj))
	}
	namespace := request.NamespaceValue(ctx)
	if errs := checkNames(req, namespace, name); len(errs) > 0 {
		return nil, apierrors.NewInvalid(kind.GroupKind(), name, errs)
	}
	account, err := t.Objects.ServiceAccount(ctx, namespace, name)
	if err != nil {
		return nil, err
	}
	if req.UID != "" && req.UID != account.UID {
		return nil, apierrors.NewConflict(schema.GroupResource{Group: kind.Group, Resource: kind.Kind}, name,
			fmt.Errorf("the UID in the token request (%s) does not match the UID of the service account (%s)", req.UID, account.UID))
	}
	complete(req, account)
	if errs := check(req); len(errs) > 0 {
		return nil, apierrors.NewInvalid(kind.GroupKind(), "", errs)
	}
	if validate != nil {
		if err := validate(ctx, req.DeepCopy()); err != nil {
			return nil, err
		}
	}
	if t.Tokens == nil {
		return nil, apierrors.NewServiceUnavailable("this server has no key to sign service account tokens with")
	}
	r := auth.Request{Account: account, Audiences: req.Spec.Audiences, Lifetime: time.Duration(*req.Spec.ExpirationSeconds) * time.Second}
	if err := t.bind(ctx, &r, req.Spec.BoundObjectRef); err != nil {
		return nil, err
	}
	now := time.Now()
	token, expires, err := t.Tokens.Issue(r, now)
	if err != nil {
		return nil, apierrors.NewInternalError(err)
	}
	if given := int64(expires.Sub(now) / time.Second); given < *req.Spec.ExpirationSeconds {
		warning.AddWarning(ctx, "", fmt.Sprintf("requested expiration of %d seconds shortened to %d seconds", *req.Spec.ExpirationSeconds, given))
		req.Spec.ExpirationSeconds = &given
	}
	if len(req.Spec.Audiences) == 0 {
		req.Spec.Audiences = t.Tokens.Audiences
	}
	req.Status = authenticationv1.TokenRequestStatus{Token: token, ExpirationTimestamp: metav1.NewTime(expires)}
	return req, nil
}

func complete(r *authenticationv1.TokenRequest, account *corev1.ServiceAccount) {
	if r.Name == "" {
		r.Name = account.Name
	}
	r.Namespace, r.UID = account.Namespace, account.UID
	r.CreationTimestamp = metav1.Now()
}

// checkNames lets a request say whose token it is for, if it says it rightly.
func checkNames(r *authenticationv1.TokenRequest, namespace, name string) field.ErrorList {
	if r.Name != "" && r.Name != name {
		return field.ErrorList{field.Invalid(field.NewPath("metadata", "name"), r.Name, "must match the service account name if specified")}
	}
	if r.Namespace != "" && r.Namespace != namespace {
		return field.ErrorList{field.Invalid(field.NewPath("metadata", "namespace"), r.Namespace, "must match the service account namespace if specified")}
	}
	return nil
}

func check(r *authenticationv1.TokenRequest) field.ErrorList {
	path, seconds := field.NewPath("spec", "expirationSeconds"), *r.Spec.ExpirationSeconds
	switch {
	case seconds < minSeconds:
		return field.ErrorList{field.Invalid(path, seconds, "may not specify a duration less than 10 minutes")}
	case seconds > maxSeconds:
		return field.ErrorList{field.Invalid(path, seconds, "may not specify a duration larger than 2^32 seconds")}
	}
	return nil
}

// bind reads what the token is bound to and checks that it is what the request
// means.
func (t *Token) bind(ctx context.Context, r *auth.Request, ref *authenticationv1.BoundObjectReference) error {
	if ref == nil {
		return nil
	}
	namespace := r.Account.Namespace
	var m *metav1.ObjectMeta
	gvk := schema.FromAPIVersionAndKind(ref.APIVersion, ref.Kind)
	switch gvk.GroupKind().String() { // in any version
	case "Pod":
		pod, err := t.Objects.Pod(ctx, namespace, ref.Name)
		if err != nil {
			return err
		}
		if pod.Spec.ServiceAccountName != r.Account.Name {
			return apierrors.NewBadRequest(fmt.Sprintf("cannot bind token for serviceaccount %q to pod running with different serviceaccount name.", r.Account.Name))
		}
		if pod.Spec.NodeName != "" {
			r.Node = &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: pod.Spec.NodeName}}
			if n, err := t.Objects.Node(ctx, pod.Spec.NodeName); err == nil {
				r.Node.UID = n.UID
			}
		}
		r.Pod, m = pod, &pod.ObjectMeta
	case "Secret":
		secret, err := t.Objects.Secret(ctx, namespace, ref.Name)
		if err != nil {
			return err
		}
		r.Secret, m = secret, &secret.ObjectMeta
	case "Node":
		node, err := t.Objects.Node(ctx, ref.Name)
		if err != nil {
			return err
		}
		r.Node, m = node, &node.ObjectMeta
	default:
		return apierrors.NewBadRequest(fmt.Sprintf("cannot bind token to object of type %s", gvk.String()))
	}
	if ref.UID != "" && ref.UID != m.UID {
		return apierrors.NewConflict(schema.GroupResource{Group: gvk.Group, Resource: gvk.Kind}, ref.Name,
			fmt.Errorf("the UID in the bound object reference (%s) does not match the UID in record. The object might have been deleted and then recreated", ref.UID))
	}
	return nil
}
