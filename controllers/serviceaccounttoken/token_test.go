package serviceaccounttoken

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"testing"

	"github.com/golang-jwt/jwt/v5"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

var (
	robot = &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: "team", Name: "robot", UID: "uid-1"}}
	empty = &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: "team", Name: "robot-token", Annotations: map[string]string{corev1.ServiceAccountNameKey: "robot"}},
		Type:       corev1.SecretTypeServiceAccountToken,
	}
)

func TestSignedTokensVerifyWithThePublicKey(t *testing.T) {
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name      string
		key       crypto.Signer
		algorithm string
	}{
		{"an RSA key signs RS256", rsaKey, "RS256"},
		{"a P-256 key signs ES256", ecKey(t, elliptic.P256()), "ES256"},
		{"a P-384 key signs ES384", ecKey(t, elliptic.P384()), "ES384"},
		{"a P-521 key signs ES512", ecKey(t, elliptic.P521()), "ES512"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s, err := newSigner(c.key)
			if err != nil {
				t.Fatal(err)
			}
			signed, err := s.sign(claims(robot, empty))
			if err != nil {
				t.Fatal(err)
			}
			token, err := jwt.Parse(signed, func(*jwt.Token) (any, error) { return c.key.Public(), nil }, jwt.WithValidMethods([]string{c.algorithm}))
			if err != nil {
				t.Fatal(err)
			}
			if token.Header["kid"] != s.keyID || len(s.keyID) != 43 {
				t.Errorf("kid is %v", token.Header["kid"])
			}
			got := token.Claims.(jwt.MapClaims)
			for claim, want := range map[string]string{
				"iss": "kubernetes/serviceaccount",
				"sub": "system:serviceaccount:team:robot",
				"kubernetes.io/serviceaccount/secret.name":         "robot-token",
				"kubernetes.io/serviceaccount/service-account.uid": "uid-1",
			} {
				if got[claim] != want {
					t.Errorf("claim %s is %v, want %s", claim, got[claim], want)
				}
			}
		})
	}
}

func TestOtherKeysAreRefused(t *testing.T) {
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	for _, key := range []crypto.Signer{key, ecKey(t, elliptic.P224())} {
		if _, err := newSigner(key); err == nil {
			t.Errorf("a key of type %T was accepted", key)
		}
	}
}

func TestPlan(t *testing.T) {
	sign := func(jwt.MapClaims) (string, error) { return "new-token", nil }
	full := func(change func(*corev1.Secret)) *corev1.Secret {
		secret := empty.DeepCopy()
		secret.Annotations[corev1.ServiceAccountUIDKey] = "uid-1"
		secret.Data = map[string][]byte{"token": []byte("old-token"), "namespace": []byte("team"), "ca.crt": []byte("CA")}
		change(secret)
		return secret
	}
	for _, c := range []struct {
		name   string
		secret *corev1.Secret
		rootCA string
		want   map[string]string // nil: nothing to write
	}{
		{"an empty Secret gets all", empty, "CA", map[string]string{"token": "new-token", "namespace": "team", "ca.crt": "CA"}},
		{"without a CA none is written", empty, "", map[string]string{"token": "new-token", "namespace": "team"}},
		{"a complete Secret is left alone", full(func(*corev1.Secret) {}), "CA", nil},
		{"a new CA replaces the old, the token stays", full(func(*corev1.Secret) {}), "CA2", map[string]string{"token": "old-token", "namespace": "team", "ca.crt": "CA2"}},
		{"a missing token is made", full(func(s *corev1.Secret) { delete(s.Data, "token") }), "CA", map[string]string{"token": "new-token", "namespace": "team", "ca.crt": "CA"}},
		{"a namespace that is there is kept", full(func(s *corev1.Secret) { s.Data["namespace"] = []byte("mine") }), "CA2", map[string]string{"token": "old-token", "namespace": "mine", "ca.crt": "CA2"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := plan(c.secret, robot, []byte(c.rootCA), sign)
			if err != nil {
				t.Fatal(err)
			}
			if (got == nil) != (c.want == nil) {
				t.Fatalf("plan returned %v, want %v", got, c.want)
			}
			if got == nil {
				return
			}
			if len(got.Data) != len(c.want) {
				t.Errorf("data has keys %v, want %v", got.Data, c.want)
			}
			for key, want := range c.want {
				if string(got.Data[key]) != want {
					t.Errorf("%s is %q, want %q", key, got.Data[key], want)
				}
			}
			if got.Annotations[corev1.ServiceAccountUIDKey] != "uid-1" {
				t.Errorf("annotations are %v", got.Annotations)
			}
		})
	}
}

func TestIsFor(t *testing.T) {
	old := empty.DeepCopy()
	old.Annotations[corev1.ServiceAccountUIDKey] = "uid-0"
	if !isFor(empty, "uid-1") {
		t.Error("a Secret without UID is for any account of its name")
	}
	if isFor(old, "uid-1") {
		t.Error("a Secret of a deleted account was taken for the new one's")
	}
}

func ecKey(t *testing.T, curve elliptic.Curve) crypto.Signer {
	t.Helper()
	key, err := ecdsa.GenerateKey(curve, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}
