package auth

import (
	"context"
	"crypto/subtle"
	"fmt"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apiserver/pkg/authentication/authenticator"
	"k8s.io/apiserver/pkg/authentication/user"
	bootstrapapi "k8s.io/cluster-bootstrap/token/api"
	bootstraptoken "k8s.io/cluster-bootstrap/token/util"
	bootstrapsecret "k8s.io/cluster-bootstrap/util/secrets"
)

// bootstrapTokens accepts "id.secret" of the secret bootstrap-token-<id> in
// kube-system, for nodes that join
// (https://kubernetes.io/docs/reference/access-authn-authz/bootstrap-tokens/).
type bootstrapTokens struct{ objects Objects }

// AuthenticateToken implements authenticator.Token.
func (b bootstrapTokens) AuthenticateToken(ctx context.Context, token string) (*authenticator.Response, bool, error) {
	if !bootstraptoken.IsValidBootstrapToken(token) {
		return nil, false, nil // some other authenticator's
	}
	id, secret, _ := strings.Cut(token, ".")
	name := bootstraptoken.BootstrapTokenSecretName(id)
	s, err := b.objects.Secret(ctx, metav1.NamespaceSystem, name)
	if apierrors.IsNotFound(err) {
		return nil, false, nil
	}
	if err != nil {
		return nil, false, fmt.Errorf("read secret %s: %w", name, err)
	}
	if !proves(s, id, secret, time.Now()) {
		return nil, false, nil
	}
	groups, err := bootstrapsecret.GetGroups(s)
	if err != nil {
		return nil, false, fmt.Errorf("secret %s: %w", name, err)
	}
	return &authenticator.Response{User: &user.DefaultInfo{Name: bootstrapapi.BootstrapUserPrefix + id, Groups: groups}}, true, nil
}

// proves says whether s allows requests with the token id.secret now.
func proves(s *corev1.Secret, id, secret string, now time.Time) bool {
	get := func(key string) string { return bootstrapsecret.GetData(s, key) }
	return s.DeletionTimestamp == nil && s.Type == bootstrapapi.SecretTypeBootstrapToken &&
		subtle.ConstantTimeCompare([]byte(get(bootstrapapi.BootstrapTokenSecretKey)), []byte(secret)) == 1 &&
		get(bootstrapapi.BootstrapTokenIDKey) == id &&
		!bootstrapsecret.HasExpired(s, now) &&
		get(bootstrapapi.BootstrapTokenUsageAuthentication) == "true"
}
