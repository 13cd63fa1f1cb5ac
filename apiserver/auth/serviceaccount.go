package auth

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/google/uuid"
	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apiserver/pkg/authentication/authenticator"
	"k8s.io/apiserver/pkg/authentication/serviceaccount"
	"k8s.io/apiserver/pkg/authentication/user"
)

// Objects reads what a token is bound to.
type Objects interface {
	ServiceAccount(ctx context.Context, namespace, name string) (*corev1.ServiceAccount, error)
	Pod(ctx context.Context, namespace, name string) (*corev1.Pod, error)
	Secret(ctx context.Context, namespace, name string) (*corev1.Secret, error)
	Node(ctx context.Context, name string) (*corev1.Node, error)
}

// Tokens issues and verifies service-account tokens
// (https://kubernetes.io/docs/reference/access-authn-authz/service-accounts-admin/).
type Tokens struct {
	// Issuers are whose tokens are accepted; the first is ours.
	Issuers   []string
	Audiences authenticator.Audiences // of tokens that name none
	Objects   Objects
	// MaxLifetime bounds the lifetime of tokens; zero: as long as is asked for.
	MaxLifetime time.Duration

	signer  crypto.Signer
	method  jwt.SigningMethod
	keyID   string
	trusted map[string]crypto.PublicKey // by key ID
}

// legacyIssuer signs tokens in Secrets, which never expire.
const legacyIssuer = "kubernetes/serviceaccount"

// deletionLeeway keeps a pod's tokens valid this long after the end of its
// grace period: its containers may still be stopping.
const deletionLeeway = time.Minute

// NewTokens gives Tokens that sign with signer and also trust further keys.
// Tokens are for the audience of the first issuer.
func NewTokens(issuers []string, signer crypto.Signer, further ...crypto.PublicKey) (*Tokens, error) {
	t := &Tokens{Issuers: issuers, Audiences: authenticator.Audiences{issuers[0]}, signer: signer, trusted: map[string]crypto.PublicKey{}}
	for _, k := range append(further, signer.Public()) {
		if _, err := methodOf(k); err != nil {
			return nil, err
		}
		id, err := keyID(k)
		if err != nil {
			return nil, fmt.Errorf("service account key: %w", err)
		}
		t.keyID, t.trusted[id] = id, k // the signer's comes last
	}
	var err error
	t.method, err = methodOf(signer.Public())
	return t, err
}

// methodOf is how a key signs (RFC 7518, 3.1).
func methodOf(k crypto.PublicKey) (jwt.SigningMethod, error) {
	switch k := k.(type) {
	case *rsa.PublicKey:
		return jwt.SigningMethodRS256, nil
	case *ecdsa.PublicKey:
		for _, m := range []*jwt.SigningMethodECDSA{jwt.SigningMethodES256, jwt.SigningMethodES384, jwt.SigningMethodES512} {
			if m.CurveBits == k.Curve.Params().BitSize {
				return m, nil
			}
		}
		return nil, fmt.Errorf("service account key of curve %s: P-256, P-384 and P-521 are known", k.Curve.Params().Name)
	}
	return nil, fmt.Errorf("service account key is a %T: RSA and ECDSA are known", k)
}

// keyID is the hash of the public key, as Kubernetes names keys in tokens.
func keyID(k crypto.PublicKey) (string, error) {
	der, err := x509.MarshalPKIXPublicKey(k)
	if err != nil {
		return "", err
	}
	sum := sha256.Sum256(der)
	return base64.RawURLEncoding.EncodeToString(sum[:]), nil
}

type reference struct {
	Name string    `json:"name"`
	UID  types.UID `json:"uid,omitempty"`
}

type bound struct {
	Namespace      string     `json:"namespace,omitempty"`
	ServiceAccount reference  `json:"serviceaccount"`
	Pod            *reference `json:"pod,omitempty"`
	Secret         *reference `json:"secret,omitempty"`
	Node           *reference `json:"node,omitempty"`
}

type claims struct {
	jwt.RegisteredClaims
	Kubernetes *bound `json:"kubernetes.io,omitempty"`

	LegacyNamespace string `json:"kubernetes.io/serviceaccount/namespace,omitempty"`
	LegacySecret    string `json:"kubernetes.io/serviceaccount/secret.name,omitempty"`
	LegacyName      string `json:"kubernetes.io/serviceaccount/service-account.name,omitempty"`
	LegacyUID       string `json:"kubernetes.io/serviceaccount/service-account.uid,omitempty"`
}

// Request is what a token is for.
type Request struct {
	Account   *corev1.ServiceAccount
	Audiences []string
	Lifetime  time.Duration
	// At most one of Pod, Secret and Node bind the token; a Pod's token may
	// also name its Node.
	Pod    *corev1.Pod
	Secret *corev1.Secret
	Node   *corev1.Node
}

// Issue signs a token and says when it expires.
func (t *Tokens) Issue(r Request, now time.Time) (string, time.Time, error) {
	expires := now.Add(t.lifetime(r.Lifetime))
	audiences := r.Audiences
	if len(audiences) == 0 {
		audiences = t.Audiences
	}
	b := &bound{Namespace: r.Account.Namespace, ServiceAccount: reference{r.Account.Name, r.Account.UID}}
	if r.Pod != nil {
		b.Pod = &reference{r.Pod.Name, r.Pod.UID}
	}
	if r.Secret != nil {
		b.Secret = &reference{r.Secret.Name, r.Secret.UID}
	}
	if r.Node != nil {
		b.Node = &reference{r.Node.Name, r.Node.UID}
	}
	token, err := t.sign(claims{
		RegisteredClaims: jwt.RegisteredClaims{
			Issuer: t.Issuers[0], Audience: jwt.ClaimStrings(audiences), ID: uuid.NewString(),
			Subject:   serviceaccount.MakeUsername(r.Account.Namespace, r.Account.Name),
			IssuedAt:  jwt.NewNumericDate(now),
			NotBefore: jwt.NewNumericDate(now),
			ExpiresAt: jwt.NewNumericDate(expires),
		},
		Kubernetes: b,
	})
	return token, expires, err
}

// lifetime is what is given of what is asked for.
func (t *Tokens) lifetime(asked time.Duration) time.Duration {
	if t.MaxLifetime > 0 {
		return min(asked, t.MaxLifetime)
	}
	return asked
}

func (t *Tokens) sign(c claims) (string, error) {
	token := jwt.NewWithClaims(t.method, c)
	token.Header["kid"] = t.keyID
	delete(token.Header, "typ")
	signed, err := token.SignedString(t.signer)
	if err != nil {
		return "", fmt.Errorf("sign token: %w", err)
	}
	return signed, nil
}

// validMethods are those of methodOf.
var validMethods = []string{"RS256", "ES256", "ES384", "ES512"}

var errNotOurs = errors.New("not issued by this cluster")

// AuthenticateToken implements authenticator.Token.
func (t *Tokens) AuthenticateToken(ctx context.Context, token string) (*authenticator.Response, bool, error) {
	c := &claims{}
	parsed, err := jwt.ParseWithClaims(token, c, func(j *jwt.Token) (any, error) {
		if !slices.Contains(t.Issuers, c.Issuer) && c.Issuer != legacyIssuer {
			return nil, errNotOurs
		}
		id, _ := j.Header["kid"].(string)
		k := t.trusted[id]
		if k == nil {
			return nil, fmt.Errorf("no key named %q", id)
		}
		// The key says how it signs, not the token.
		if m, err := methodOf(k); err != nil || m.Alg() != j.Method.Alg() {
			return nil, fmt.Errorf("key %q does not sign by %s", id, j.Method.Alg())
		}
		return k, nil
	}, jwt.WithValidMethods(validMethods), jwt.WithLeeway(10*time.Second))
	switch {
	case errors.Is(err, errNotOurs), errors.Is(err, jwt.ErrTokenMalformed):
		return nil, false, nil // some other authenticator's
	case err != nil:
		return nil, false, fmt.Errorf("[invalid bearer token, %w]", plain(err))
	case !parsed.Valid:
		return nil, false, errors.New("invalid bearer token")
	}
	if c.Issuer == legacyIssuer {
		return t.legacy(ctx, c, token)
	}
	return t.bound(ctx, c)
}

func (t *Tokens) bound(ctx context.Context, c *claims) (*authenticator.Response, bool, error) {
	if c.ExpiresAt == nil || c.Kubernetes == nil {
		return nil, false, errors.New("service account token has no expiry or no account")
	}
	wanted, ok := authenticator.AudiencesFrom(ctx)
	if !ok || len(wanted) == 0 {
		wanted = t.Audiences
	}
	audiences := wanted.Intersect(authenticator.Audiences(c.Audience))
	if len(audiences) == 0 {
		return nil, false, fmt.Errorf("token audiences %q is invalid for the target audiences %q", c.Audience, wanted)
	}
	k := c.Kubernetes
	account, err := t.account(ctx, k.Namespace, k.ServiceAccount)
	if err != nil {
		return nil, false, err
	}
	info := identity(account)
	info.Extra = map[string][]string{"authentication.kubernetes.io/credential-id": {"JTI=" + c.ID}}
	if k.Secret != nil {
		s, err := t.Objects.Secret(ctx, k.Namespace, k.Secret.Name)
		if err != nil {
			return nil, false, fmt.Errorf("service account token has been invalidated: %w", err)
		}
		if err := same("secret", &s.ObjectMeta, *k.Secret); err != nil {
			return nil, false, err
		}
	}
	if k.Pod != nil {
		p, err := t.Objects.Pod(ctx, k.Namespace, k.Pod.Name)
		if err != nil {
			return nil, false, fmt.Errorf("service account token has been invalidated: %w", err)
		}
		if err := same("pod", &p.ObjectMeta, *k.Pod); err != nil {
			return nil, false, err
		}
		info.Extra[serviceaccount.PodNameKey] = []string{k.Pod.Name}
		info.Extra[serviceaccount.PodUIDKey] = []string{string(k.Pod.UID)}
	}
	if k.Node != nil {
		if k.Pod == nil {
			n, err := t.Objects.Node(ctx, k.Node.Name)
			if err != nil {
				return nil, false, fmt.Errorf("service account token has been invalidated: %w", err)
			}
			if err := same("node", &n.ObjectMeta, *k.Node); err != nil {
				return nil, false, err
			}
		}
		info.Extra[serviceaccount.NodeNameKey] = []string{k.Node.Name}
		if k.Node.UID != "" {
			info.Extra[serviceaccount.NodeUIDKey] = []string{string(k.Node.UID)}
		}
	}
	return &authenticator.Response{Audiences: audiences, User: info}, true, nil
}

func (t *Tokens) legacy(ctx context.Context, c *claims, token string) (*authenticator.Response, bool, error) {
	account, err := t.account(ctx, c.LegacyNamespace, reference{c.LegacyName, types.UID(c.LegacyUID)})
	if err != nil {
		return nil, false, err
	}
	s, err := t.Objects.Secret(ctx, c.LegacyNamespace, c.LegacySecret)
	if err != nil {
		return nil, false, fmt.Errorf("service account token has been invalidated: %w", err)
	}
	if s.DeletionTimestamp != nil || string(s.Data[corev1.ServiceAccountTokenKey]) != token {
		return nil, false, errors.New("service account token has been invalidated")
	}
	return &authenticator.Response{Audiences: t.Audiences, User: identity(account)}, true, nil
}

func (t *Tokens) account(ctx context.Context, namespace string, r reference) (*corev1.ServiceAccount, error) {
	a, err := t.Objects.ServiceAccount(ctx, namespace, r.Name)
	if err != nil {
		return nil, fmt.Errorf("service account %s/%s: %w", namespace, r.Name, err)
	}
	return a, same("service account", &a.ObjectMeta, r)
}

// plain says what is wrong with a token's time as Kubernetes says it.
func plain(err error) error {
	for _, known := range []struct {
		err  error
		text string
	}{
		{jwt.ErrTokenExpired, "service account token has expired"},
		{jwt.ErrTokenNotValidYet, "service account token is not valid yet"},
		{jwt.ErrTokenUsedBeforeIssued, "service account token is issued in the future"},
	} {
		if errors.Is(err, known.err) {
			return errors.New(known.text)
		}
	}
	return err
}

// same checks that a token's object is still the one it was bound to.
func same(kind string, m *metav1.ObjectMeta, r reference) error {
	switch {
	case m.UID != r.UID:
		claim := "claim"
		if kind != "service account" {
			claim = "service account " + kind + " ref claim"
		}
		return fmt.Errorf("%s UID (%s) does not match %s (%s)", kind, m.UID, claim, r.UID)
	case m.DeletionTimestamp != nil && time.Now().After(m.DeletionTimestamp.Add(deletionLeeway)):
		if kind == "service account" {
			return fmt.Errorf("service account %s/%s has been deleted", m.Namespace, m.Name)
		}
		return errors.New("service account token has been invalidated")
	}
	return nil
}

func identity(a *corev1.ServiceAccount) *user.DefaultInfo {
	return &user.DefaultInfo{
		Name:   serviceaccount.MakeUsername(a.Namespace, a.Name),
		UID:    string(a.UID),
		Groups: serviceaccount.MakeGroupNames(a.Namespace),
	}
}

// Review answers a TokenReview.
func Review(ctx context.Context, tokens authenticator.Token, r *authenticationv1.TokenReview, defaults authenticator.Audiences) authenticationv1.TokenReviewStatus {
	audiences := authenticator.Audiences(r.Spec.Audiences)
	if len(audiences) == 0 {
		audiences = defaults
	}
	resp, ok, err := tokens.AuthenticateToken(authenticator.WithAudiences(ctx, audiences), r.Spec.Token)
	st := authenticationv1.TokenReviewStatus{Authenticated: ok}
	switch {
	case err != nil:
		st.Error = err.Error()
	case !ok:
		st.Error = "invalid bearer token"
	}
	if !ok || resp == nil || resp.User == nil {
		return st
	}
	st.User = authenticationv1.UserInfo{
		Username: resp.User.GetName(), UID: resp.User.GetUID(), Groups: resp.User.GetGroups(),
		Extra: map[string]authenticationv1.ExtraValue{},
	}
	// The user is in the groups that a request with this token would be in.
	if !slices.Contains(st.User.Groups, user.AllAuthenticated) {
		st.User.Groups = append(slices.Clone(st.User.Groups), user.AllAuthenticated)
	}
	for k, v := range resp.User.GetExtra() {
		st.User.Extra[k] = v
	}
	st.Audiences = resp.Audiences
	if len(st.Audiences) == 0 {
		st.Audiences = audiences
	}
	return st
}
