package controllers_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"fmt"
	"testing"

	"github.com/golang-jwt/jwt/v5"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/util/keyutil"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/skiffcluster/skiff/controllers"
)

// eventuallyThere waits until the object exists and is as check wants it.
func eventuallyThere(t *testing.T, c client.Client, object client.Object, check func() string) {
	t.Helper()
	eventually(t, func() string {
		if err := c.Get(t.Context(), client.ObjectKeyFromObject(object), object); err != nil {
			return err.Error()
		}
		return check()
	})
}

func TestEveryNamespaceHasADefaultServiceAccount(t *testing.T) {
	c := start(t, "serviceaccount-controller")
	createNamespace(t, c, "team")
	for _, namespace := range []string{"default", "team"} {
		account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "default"}}
		eventuallyThere(t, c, account, func() string { return "" })
		first := account.UID
		remove(t, c, account)
		eventuallyThere(t, c, account, func() string {
			if account.UID == first {
				return "the deleted account is still there"
			}
			return ""
		})
	}
}

func TestTheRootCAIsPublishedAndRestored(t *testing.T) {
	c := startWith(t, controllers.Config{Controllers: []string{"root-ca-certificate-publisher-controller"}, RootCA: []byte("the CA")})
	createNamespace(t, c, "team")
	published := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "team", Name: "kube-root-ca.crt"}}
	isRight := func() string {
		if len(published.Data) != 1 || published.Data["ca.crt"] != "the CA" {
			return fmt.Sprintf("data is %v", published.Data)
		}
		return ""
	}
	eventuallyThere(t, c, published, isRight)
	if published.Annotations["kubernetes.io/description"] == "" {
		t.Error("there is no description")
	}
	published.Data = map[string]string{"ca.crt": "forged", "more": "x"}
	if err := c.Update(t.Context(), published); err != nil {
		t.Fatal(err)
	}
	eventuallyThere(t, c, published, isRight)
	remove(t, c, published)
	published.Data = nil
	eventuallyThere(t, c, published, isRight)
}

func TestTokenSecretsAreFilledAndGoWithTheirAccount(t *testing.T) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	pem, err := keyutil.MarshalPrivateKeyToPEM(key)
	if err != nil {
		t.Fatal(err)
	}
	c := startWith(t, controllers.Config{Controllers: []string{"serviceaccount-token-controller"}, RootCA: []byte("the CA"), ServiceAccountKey: pem})
	account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "robot"}}
	if err := c.Create(t.Context(), account); err != nil {
		t.Fatal(err)
	}
	secret := func(name, account string) *corev1.Secret {
		secret := &corev1.Secret{
			ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name, Annotations: map[string]string{corev1.ServiceAccountNameKey: account}},
			Type:       corev1.SecretTypeServiceAccountToken,
		}
		if err := c.Create(t.Context(), secret); err != nil {
			t.Fatal(err)
		}
		return secret
	}
	token, stray := secret("robot-token", "robot"), secret("stray", "nobody")
	eventuallyThere(t, c, token, func() string {
		if len(token.Data["token"]) == 0 {
			return "there is no token"
		}
		return ""
	})
	if string(token.Data["ca.crt"]) != "the CA" || string(token.Data["namespace"]) != "default" || token.Annotations[corev1.ServiceAccountUIDKey] != string(account.UID) {
		t.Errorf("the secret is %v, %v", token.Data, token.Annotations)
	}
	parsed, err := jwt.Parse(string(token.Data["token"]), func(*jwt.Token) (any, error) { return key.Public(), nil })
	if err != nil {
		t.Fatal(err)
	}
	if subject, _ := parsed.Claims.GetSubject(); subject != "system:serviceaccount:default:robot" {
		t.Errorf("the token is for %q", subject)
	}
	eventuallyGone(t, c, stray)
	remove(t, c, account)
	eventuallyGone(t, c, token)
}
