package auth_test

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apiserver/pkg/authentication/authenticator"

	"github.com/skiffcluster/skiff/apiserver/auth"
)

const issuer = "https://kubernetes.default.svc.cluster.local"

// cluster is the objects that tokens are bound to, by kind and name.
type cluster map[string]any

func lookup[T any](c cluster, kind, name string) (*T, error) {
	if o, ok := c[kind+"/"+name].(*T); ok {
		return o, nil
	}
	return nil, apierrors.NewNotFound(corev1.Resource(kind), name)
}

func (c cluster) ServiceAccount(_ context.Context, _, name string) (*corev1.ServiceAccount, error) {
	return lookup[corev1.ServiceAccount](c, "serviceaccounts", name)
}

func (c cluster) Pod(_ context.Context, _, name string) (*corev1.Pod, error) {
	return lookup[corev1.Pod](c, "pods", name)
}

func (c cluster) Secret(_ context.Context, _, name string) (*corev1.Secret, error) {
	return lookup[corev1.Secret](c, "secrets", name)
}

func (c cluster) Node(_ context.Context, name string) (*corev1.Node, error) {
	return lookup[corev1.Node](c, "nodes", name)
}

func meta(name string) metav1.ObjectMeta {
	return metav1.ObjectMeta{Namespace: "ns", Name: name, UID: types.UID("uid-" + name)}
}

func whole() cluster {
	return cluster{
		"serviceaccounts/sa": &corev1.ServiceAccount{ObjectMeta: meta("sa")},
		"pods/pod":           &corev1.Pod{ObjectMeta: meta("pod"), Spec: corev1.PodSpec{ServiceAccountName: "sa", NodeName: "node"}},
		"secrets/secret":     &corev1.Secret{ObjectMeta: meta("secret")},
		"nodes/node":         &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "node", UID: "uid-node"}},
	}
}

func newKey(t *testing.T) *ecdsa.PrivateKey {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func newTokens(t *testing.T, c cluster, key *ecdsa.PrivateKey, older ...crypto.PublicKey) *auth.Tokens {
	t.Helper()
	tokens, err := auth.NewTokens([]string{issuer}, key, older...)
	if err != nil {
		t.Fatal(err)
	}
	tokens.Objects = c
	return tokens
}

func TestTokensAreGoodWhileTheirObjectsAre(t *testing.T) {
	past := metav1.NewTime(time.Now().Add(-time.Hour))
	soon := metav1.NewTime(time.Now().Add(time.Minute))
	pod := func(c cluster) *corev1.Pod { return c["pods/pod"].(*corev1.Pod) }
	for _, c := range []struct {
		name    string
		request func(c cluster, r *auth.Request)
		later   func(c cluster) // what happened after the token was issued
		ask     authenticator.Audiences
		err     string
	}{
		{name: "an account's", request: func(cluster, *auth.Request) {}},
		{name: "an account that is gone", later: func(c cluster) { delete(c, "serviceaccounts/sa") }, err: "service account ns/sa:"},
		{name: "an account that is another", later: func(c cluster) { c["serviceaccounts/sa"].(*corev1.ServiceAccount).UID = "x" }, err: "does not match claim ("},
		{name: "a pod's", request: func(c cluster, r *auth.Request) { r.Pod = pod(c) }},
		{name: "a pod that is gone", request: func(c cluster, r *auth.Request) { r.Pod = pod(c) }, later: func(c cluster) { delete(c, "pods/pod") }, err: "service account token has been invalidated"},
		{name: "a pod that is another", request: func(c cluster, r *auth.Request) { r.Pod = pod(c) }, later: func(c cluster) { c["pods/pod"] = &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "pod", UID: "x"}} }, err: "pod UID (x) does not match service account pod ref claim ("},
		{name: "a pod that stops", request: func(c cluster, r *auth.Request) { r.Pod = pod(c) }, later: func(c cluster) { pod(c).DeletionTimestamp = &soon }},
		{name: "a pod that should be gone long ago", request: func(c cluster, r *auth.Request) { r.Pod = pod(c) }, later: func(c cluster) { pod(c).DeletionTimestamp = &past }, err: "service account token has been invalidated"},
		{name: "a secret's", request: func(c cluster, r *auth.Request) { r.Secret = c["secrets/secret"].(*corev1.Secret) }},
		{name: "a secret that is gone", request: func(c cluster, r *auth.Request) { r.Secret = c["secrets/secret"].(*corev1.Secret) }, later: func(c cluster) { delete(c, "secrets/secret") }, err: "service account token has been invalidated"},
		{name: "a node's", request: func(c cluster, r *auth.Request) { r.Node = c["nodes/node"].(*corev1.Node) }},
		{name: "a node that is gone", request: func(c cluster, r *auth.Request) { r.Node = c["nodes/node"].(*corev1.Node) }, later: func(c cluster) { delete(c, "nodes/node") }, err: "service account token has been invalidated"},
		{name: "the node of a pod may go", request: func(c cluster, r *auth.Request) { r.Pod, r.Node = pod(c), c["nodes/node"].(*corev1.Node) }, later: func(c cluster) { delete(c, "nodes/node") }},
		{name: "for another audience", request: func(_ cluster, r *auth.Request) { r.Audiences = []string{"other"} }, err: `token audiences ["other"] is invalid for the target audiences ["` + issuer + `"]`},
		{name: "for the audience that is asked for", request: func(_ cluster, r *auth.Request) { r.Audiences = []string{"other"} }, ask: authenticator.Audiences{"other", "more"}},
		{name: "expired", request: func(_ cluster, r *auth.Request) { r.Lifetime = -time.Minute }, err: "service account token has expired"},
		{name: "expired a moment ago, by another's clock", request: func(_ cluster, r *auth.Request) { r.Lifetime = -time.Second }},
	} {
		t.Run(c.name, func(t *testing.T) {
			objects := whole()
			tokens := newTokens(t, objects, newKey(t))
			r := auth.Request{Account: objects["serviceaccounts/sa"].(*corev1.ServiceAccount), Lifetime: time.Hour}
			if c.request != nil {
				c.request(objects, &r)
			}
			token, expires, err := tokens.Issue(r, time.Now())
			if err != nil {
				t.Fatal(err)
			}
			if d := time.Until(expires) - r.Lifetime; d > 0 || d < -time.Minute {
				t.Errorf("expires %s", expires)
			}
			if c.later != nil {
				c.later(objects)
			}
			ctx := t.Context()
			if c.ask != nil {
				ctx = authenticator.WithAudiences(ctx, c.ask)
			}
			got, ok, err := tokens.AuthenticateToken(ctx, token)
			if c.err != "" {
				if ok || err == nil || !strings.Contains(err.Error(), c.err) {
					t.Fatalf("%v %v", ok, err)
				}
				return
			}
			if err != nil || !ok {
				t.Fatal(ok, err)
			}
			u := got.User
			if u.GetName() != "system:serviceaccount:ns:sa" || u.GetUID() != "uid-sa" || strings.Join(u.GetGroups(), " ") != "system:serviceaccounts system:serviceaccounts:ns" {
				t.Errorf("%+v", u)
			}
			x := u.GetExtra()
			if r.Pod != nil && (x["authentication.kubernetes.io/pod-name"][0] != "pod" || x["authentication.kubernetes.io/pod-uid"][0] != "uid-pod") {
				t.Errorf("extra %v", x)
			}
			if r.Node != nil && (x["authentication.kubernetes.io/node-name"][0] != "node" || x["authentication.kubernetes.io/node-uid"][0] != "uid-node") {
				t.Errorf("extra %v", x)
			}
			if !strings.HasPrefix(x["authentication.kubernetes.io/credential-id"][0], "JTI=") {
				t.Errorf("extra %v", x)
			}
		})
	}
}

// forge signs claims in any way.
func forge(t *testing.T, method jwt.SigningMethod, key any, kid string, claims jwt.MapClaims) string {
	t.Helper()
	j := jwt.NewWithClaims(method, claims)
	j.Header["kid"] = kid
	s, err := j.SignedString(key)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestForgedTokensAreRefused(t *testing.T) {
	objects, key := whole(), newKey(t)
	tokens := newTokens(t, objects, key)
	good, _, err := tokens.Issue(auth.Request{Account: objects["serviceaccounts/sa"].(*corev1.ServiceAccount), Lifetime: time.Hour}, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	parts := strings.Split(good, ".")
	var header map[string]string
	raw, _ := base64.RawURLEncoding.DecodeString(parts[0])
	if err := json.Unmarshal(raw, &header); err != nil {
		t.Fatal(err)
	}
	kid := header["kid"]
	claims := func(change func(jwt.MapClaims)) jwt.MapClaims {
		c := jwt.MapClaims{
			"iss": issuer, "aud": []string{issuer}, "exp": time.Now().Add(time.Hour).Unix(), "sub": "system:serviceaccount:ns:sa",
			"kubernetes.io": map[string]any{"namespace": "ns", "serviceaccount": map[string]string{"name": "sa", "uid": "uid-sa"}},
		}
		if change != nil {
			change(c)
		}
		return c
	}
	if _, ok, err := tokens.AuthenticateToken(t.Context(), forge(t, jwt.SigningMethodES256, key, kid, claims(nil))); !ok || err != nil {
		t.Fatalf("the pattern of what follows is refused: %v", err)
	}
	for _, c := range []struct {
		name  string
		token string
		ours  bool // an error, and not another authenticator's matter
	}{
		{"another key", forge(t, jwt.SigningMethodES256, newKey(t), kid, claims(nil)), true},
		{"a key that is not known", forge(t, jwt.SigningMethodES256, key, "other", claims(nil)), true},
		{"no signature", forge(t, jwt.SigningMethodNone, jwt.UnsafeAllowNoneSignatureType, kid, claims(nil)), true},
		{"the public key as a secret", forge(t, jwt.SigningMethodHS256, []byte("public"), kid, claims(nil)), true},
		{"another body", parts[0] + "." + base64.RawURLEncoding.EncodeToString([]byte(`{"iss":"`+issuer+`"}`)) + "." + parts[2], true},
		{"no expiry", forge(t, jwt.SigningMethodES256, key, kid, claims(func(c jwt.MapClaims) { delete(c, "exp") })), true},
		{"no account", forge(t, jwt.SigningMethodES256, key, kid, claims(func(c jwt.MapClaims) { delete(c, "kubernetes.io") })), true},
		{"not yet", forge(t, jwt.SigningMethodES256, key, kid, claims(func(c jwt.MapClaims) { c["nbf"] = time.Now().Add(time.Hour).Unix() })), true},
		{"another issuer", forge(t, jwt.SigningMethodES256, key, kid, claims(func(c jwt.MapClaims) { c["iss"] = "https://other" })), false},
		{"not a token", "abc", false},
		{"an empty one", "", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, ok, err := tokens.AuthenticateToken(t.Context(), c.token)
			if ok || (err != nil) != c.ours {
				t.Errorf("%v %v", ok, err)
			}
		})
	}
	next := newTokens(t, objects, newKey(t), &key.PublicKey)
	if _, ok, err := next.AuthenticateToken(t.Context(), good); !ok {
		t.Errorf("after a change of keys: %v", err)
	}
}

func TestTokensInSecrets(t *testing.T) {
	objects, key := whole(), newKey(t)
	tokens := newTokens(t, objects, key)
	good, _, _ := tokens.Issue(auth.Request{Account: objects["serviceaccounts/sa"].(*corev1.ServiceAccount), Lifetime: time.Hour}, time.Now())
	raw, _ := base64.RawURLEncoding.DecodeString(strings.Split(good, ".")[0])
	var header map[string]string
	_ = json.Unmarshal(raw, &header)
	legacy := forge(t, jwt.SigningMethodES256, key, header["kid"], jwt.MapClaims{
		"iss": "kubernetes/serviceaccount", "kubernetes.io/serviceaccount/namespace": "ns", "kubernetes.io/serviceaccount/secret.name": "secret",
		"kubernetes.io/serviceaccount/service-account.name": "sa", "kubernetes.io/serviceaccount/service-account.uid": "uid-sa",
	})
	secret := objects["secrets/secret"].(*corev1.Secret)
	if _, ok, err := tokens.AuthenticateToken(t.Context(), legacy); ok || err == nil {
		t.Errorf("a secret without the token: %v", err)
	}
	secret.Data = map[string][]byte{"token": []byte(legacy)}
	got, ok, err := tokens.AuthenticateToken(t.Context(), legacy)
	if !ok || got.User.GetName() != "system:serviceaccount:ns:sa" {
		t.Errorf("%v %v", err, got)
	}
	delete(objects, "secrets/secret")
	if _, ok, _ := tokens.AuthenticateToken(t.Context(), legacy); ok {
		t.Error("a secret that is gone")
	}
}

func TestTokenReviews(t *testing.T) {
	objects := whole()
	tokens := newTokens(t, objects, newKey(t))
	token, _, _ := tokens.Issue(auth.Request{Account: objects["serviceaccounts/sa"].(*corev1.ServiceAccount), Lifetime: time.Hour, Audiences: []string{"a", "b"}}, time.Now())
	st := auth.Review(t.Context(), tokens, &authenticationv1.TokenReview{Spec: authenticationv1.TokenReviewSpec{Token: token, Audiences: []string{"b", "c"}}}, tokens.Audiences)
	if !st.Authenticated || st.User.Username != "system:serviceaccount:ns:sa" || len(st.Audiences) != 1 || st.Audiences[0] != "b" || st.Error != "" {
		t.Errorf("%+v", st)
	}
	st = auth.Review(t.Context(), tokens, &authenticationv1.TokenReview{Spec: authenticationv1.TokenReviewSpec{Token: token}}, tokens.Audiences)
	if st.Authenticated || st.Error == "" || st.User.Username != "" {
		t.Errorf("for the default audience: %+v", st)
	}
}
