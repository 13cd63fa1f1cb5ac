package cluster

import (
	"context"
	"fmt"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	certificatesv1 "k8s.io/api/certificates/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/kubernetes"
	bootstrapapi "k8s.io/cluster-bootstrap/token/api"
	bootstraputil "k8s.io/cluster-bootstrap/token/util"
)

// Groups of those who show a bootstrap token.
const (
	// WorkersGroup may become nodes.
	WorkersGroup = "system:bootstrappers:skiff:default-node-token"
	// MastersGroup may become masters, which are given the cluster's keys.
	MastersGroup = "system:bootstrappers:skiff:masters"
)

// EnsureJoinRights gives the groups of bootstrap tokens what they need, and
// nodes what their agents need beside the node authorizer: to renew their
// certificates, to connect pods, to serve services and to answer names. A
// cluster that nobody joins goes without.
func EnsureJoinRights(ctx context.Context, k kubernetes.Interface) error {
	roles := []*rbacv1.ClusterRole{
		{ObjectMeta: metav1.ObjectMeta{Name: "skiff:masters"}, Rules: []rbacv1.PolicyRule{{Verbs: []string{"post"}, NonResourceURLs: []string{MastersPath}}}},
		{ObjectMeta: metav1.ObjectMeta{Name: "skiff:cluster"}, Rules: []rbacv1.PolicyRule{{Verbs: []string{"get"}, NonResourceURLs: []string{ClusterPath}}}},
	}
	for _, r := range roles {
		if _, err := k.RbacV1().ClusterRoles().Create(ctx, r, metav1.CreateOptions{}); err != nil && !apierrors.IsAlreadyExists(err) {
			return fmt.Errorf("rights of bootstrap tokens: %w", err)
		}
	}
	if err := ensurePodNetworkRole(ctx, k); err != nil {
		return err
	}
	const approvals = "system:certificates.k8s.io:certificatesigningrequests:"
	for _, b := range []struct {
		name, role string
		groups     []string
	}{
		{"skiff:masters", "skiff:masters", []string{MastersGroup}},
		{"skiff:cluster", "skiff:cluster", []string{WorkersGroup, "system:nodes"}},
		{"skiff:node-bootstrap", "system:node-bootstrapper", []string{WorkersGroup}},
		{"skiff:node-autoapprove-bootstrap", approvals + "nodeclient", []string{WorkersGroup}},
		{"skiff:node-autoapprove-certificate-rotation", approvals + "selfnodeclient", []string{"system:nodes"}},
		{"skiff:node-proxier", "system:node-proxier", []string{"system:nodes"}},
		{"skiff:node-dns", "system:coredns", []string{"system:nodes"}},
	} {
		binding := &rbacv1.ClusterRoleBinding{
			ObjectMeta: metav1.ObjectMeta{Name: b.name},
			RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: b.role},
		}
		for _, g := range b.groups {
			binding.Subjects = append(binding.Subjects, rbacv1.Subject{APIGroup: rbacv1.GroupName, Kind: rbacv1.GroupKind, Name: g})
		}
		if _, err := k.RbacV1().ClusterRoleBindings().Create(ctx, binding, metav1.CreateOptions{}); err != nil && !apierrors.IsAlreadyExists(err) {
			return fmt.Errorf("rights of bootstrap tokens: %w", err)
		}
	}
	return nil
}

// NewToken makes a bootstrap token for a machine of the cluster with a CA, PEM.
// It is good for ttl from now, or for ever if that is 0.
func NewToken(ctx context.Context, k kubernetes.Interface, ca []byte, master bool, ttl time.Duration, description string) (Token, error) {
	hash, err := CAHash(ca)
	if err != nil {
		return Token{}, err
	}
	bearer, err := bootstraputil.GenerateBootstrapToken()
	if err != nil {
		return Token{}, fmt.Errorf("make token: %w", err)
	}
	t, err := ParseToken(bearer + "." + hash)
	if err != nil {
		return Token{}, err
	}
	if err := EnsureJoinRights(ctx, k); err != nil {
		return Token{}, err
	}
	data := map[string]string{
		bootstrapapi.BootstrapTokenIDKey: t.ID, bootstrapapi.BootstrapTokenSecretKey: t.Secret,
		bootstrapapi.BootstrapTokenUsageAuthentication: "true", bootstrapapi.BootstrapTokenExtraGroupsKey: WorkersGroup,
	}
	if master {
		data[bootstrapapi.BootstrapTokenExtraGroupsKey] = MastersGroup
	}
	if ttl > 0 {
		data[bootstrapapi.BootstrapTokenExpirationKey] = time.Now().UTC().Add(ttl).Format(time.RFC3339)
	}
	if description != "" {
		data[bootstrapapi.BootstrapTokenDescriptionKey] = description
	}
	_, err = k.CoreV1().Secrets(metav1.NamespaceSystem).Create(ctx, &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Name: bootstraputil.BootstrapTokenSecretName(t.ID)},
		Type:       bootstrapapi.SecretTypeBootstrapToken, StringData: data,
	}, metav1.CreateOptions{})
	if err != nil {
		return Token{}, fmt.Errorf("make token: %w", err)
	}
	if err := waitUntilHonoured(ctx, k, t, master); err != nil {
		return Token{}, fmt.Errorf("make token: it was written, but is not honoured: %w", err)
	}
	return t, nil
}

// tokenWait is how long a master may take to see a token that it has stored:
// it reads tokens, roles and bindings from watches, which are a moment late.
const tokenWait = 10 * time.Second

// waitUntilHonoured returns when the API server knows a token and lets those
// who show it do the first thing that they must. A machine that is given the
// token at once would be refused before.
func waitUntilHonoured(ctx context.Context, k kubernetes.Interface, t Token, master bool) error {
	asks := []authorizationv1.SubjectAccessReviewSpec{
		{NonResourceAttributes: &authorizationv1.NonResourceAttributes{Verb: "get", Path: ClusterPath}},
		{ResourceAttributes: &authorizationv1.ResourceAttributes{Verb: "create", Group: certificatesv1.GroupName, Resource: "certificatesigningrequests", Subresource: "nodeclient"}},
	}
	if master {
		asks = []authorizationv1.SubjectAccessReviewSpec{{NonResourceAttributes: &authorizationv1.NonResourceAttributes{Verb: "post", Path: MastersPath}}}
	}
	ctx, cancel := context.WithTimeout(ctx, tokenWait)
	defer cancel()
	return wait.PollUntilContextCancel(ctx, 5*time.Millisecond, true, func(ctx context.Context) (bool, error) {
		known, err := k.AuthenticationV1().TokenReviews().Create(ctx, &authenticationv1.TokenReview{
			Spec: authenticationv1.TokenReviewSpec{Token: t.Bearer()},
		}, metav1.CreateOptions{})
		if err != nil || !known.Status.Authenticated {
			return false, err
		}
		for _, ask := range asks {
			ask.User, ask.Groups = known.Status.User.Username, known.Status.User.Groups
			answer, err := k.AuthorizationV1().SubjectAccessReviews().Create(ctx, &authorizationv1.SubjectAccessReview{Spec: ask}, metav1.CreateOptions{})
			if err != nil || !answer.Status.Allowed {
				return false, err
			}
		}
		return true, nil
	})
}
