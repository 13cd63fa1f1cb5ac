package bootstrap

import (
	"maps"
	"slices"
	"testing"
	"time"

	jose "gopkg.in/go-jose/go-jose.v2"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

var epoch = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

func token(id string, change func(map[string][]byte)) corev1.Secret {
	data := map[string][]byte{keyID: []byte(id), keySecret: []byte("secret-of-" + id), keySigning: []byte("true")}
	if change != nil {
		change(data)
	}
	return corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: secretPrefix + id}, Type: corev1.SecretTypeBootstrapToken, Data: data}
}

func TestSigners(t *testing.T) {
	ends := func(text string) func(map[string][]byte) {
		return func(d map[string][]byte) { d[keyExpiration] = []byte(text) }
	}
	misnamed := token("namely", nil)
	misnamed.Name = secretPrefix + "others"
	keys, next := signers([]corev1.Secret{
		token("abc123", nil),
		token("later1", ends(epoch.Add(time.Hour).Format(time.RFC3339))),
		token("over12", ends(epoch.Add(-time.Hour).Format(time.RFC3339))),
		token("mangle", ends("tomorrow")),
		token("notsig", func(d map[string][]byte) { d[keySigning] = []byte("false") }),
		token("nokey1", func(d map[string][]byte) { delete(d, keySecret) }),
		token("TOOBIG", nil),
		misnamed,
	}, epoch)
	if got := slices.Sorted(maps.Keys(keys)); !slices.Equal(got, []string{"abc123", "later1"}) || next != time.Hour {
		t.Errorf("tokens %v sign, until %s", got, next)
	}
}

func TestPlanData(t *testing.T) {
	before := map[string]string{kubeConfigKey: "content", "other": "kept", signatureKey + "old123": "gone"}
	data, err := planData(before, map[string]string{"abc123": "key"})
	if err != nil || len(data) != 3 || data["other"] != "kept" || len(before) != 3 {
		t.Fatalf("data %v (%v)", data, err)
	}
	// Whoever joins checks it by the standard.
	signature, err := jose.ParseDetached(data[signatureKey+"abc123"], []byte("content"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := signature.Verify([]byte("key")); err != nil || signature.Signatures[0].Header.KeyID != "abc123" {
		t.Errorf("signature %+v: %v", signature, err)
	}
	if unchanged, err := planData(map[string]string{"x": "y"}, map[string]string{"abc123": "key"}); err != nil || len(unchanged) != 1 {
		t.Errorf("what has nothing to sign becomes %v (%v)", unchanged, err)
	}
}
