package bootstrap

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"regexp"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// The format of tokens is documented at
// https://kubernetes.io/docs/reference/access-authn-authz/bootstrap-tokens/#bootstrap-token-secret-format.
const (
	secretPrefix = "bootstrap-token-"

	keyID         = "token-id"
	keySecret     = "token-secret"
	keyExpiration = "expiration"
	keySigning    = "usage-bootstrap-signing"

	configMapName = "cluster-info"
	kubeConfigKey = "kubeconfig"
	signatureKey  = "jws-kubeconfig-" // and a token's ID
)

var tokenID = regexp.MustCompile(`^[a-z0-9]{6}$`)

// newCache caches nothing but bootstrap tokens and the ConfigMap cluster-info.
func newCache(mgr ctrl.Manager) (cache.Cache, error) {
	c, err := cache.New(mgr.GetConfig(), cache.Options{
		HTTPClient: mgr.GetHTTPClient(), Scheme: mgr.GetScheme(), Mapper: mgr.GetRESTMapper(),
		ByObject: map[client.Object]cache.ByObject{
			&corev1.Secret{}: {
				Namespaces: map[string]cache.Config{metav1.NamespaceSystem: {}},
				Field:      fields.OneTermEqualSelector("type", string(corev1.SecretTypeBootstrapToken)),
			},
			&corev1.ConfigMap{}: {
				Namespaces: map[string]cache.Config{metav1.NamespacePublic: {}},
				Field:      fields.OneTermEqualSelector(metav1.ObjectNameField, configMapName),
			},
		},
	})
	if err != nil {
		return nil, fmt.Errorf("watch bootstrap tokens: %w", err)
	}
	return c, mgr.Add(c)
}

// expiry is when a token ends; the zero time for one that never does. One whose
// end cannot be read has ended.
func expiry(secret *corev1.Secret) time.Time {
	text := string(secret.Data[keyExpiration])
	if text == "" {
		return time.Time{}
	}
	at, err := time.Parse(time.RFC3339, text)
	if err != nil {
		return time.Unix(0, 0)
	}
	return at
}

// signers are the secrets of the tokens that may sign, by ID, and how long it is
// until the next of them ends.
func signers(secrets []corev1.Secret, now time.Time) (keys map[string]string, next time.Duration) {
	keys = map[string]string{}
	for i := range secrets {
		secret := &secrets[i]
		id, key := string(secret.Data[keyID]), string(secret.Data[keySecret])
		if !tokenID.MatchString(id) || secret.Name != secretPrefix+id || key == "" || string(secret.Data[keySigning]) != "true" || secret.DeletionTimestamp != nil {
			continue
		}
		if end := expiry(secret); !end.IsZero() {
			left := end.Sub(now)
			if left <= 0 {
				continue
			}
			if next == 0 || left < next {
				next = left
			}
		}
		keys[id] = key
	}
	return keys, next
}

// sign makes a JSON web signature with its content left out (RFC 7515,
// appendix F), by HMAC with the token's secret.
func sign(content, id, key string) (string, error) {
	header, err := json.Marshal(struct {
		Algorithm string `json:"alg"`
		KeyID     string `json:"kid"`
	}{"HS256", id})
	if err != nil {
		return "", fmt.Errorf("encode header of signature: %w", err)
	}
	encode := base64.RawURLEncoding.EncodeToString
	mac := hmac.New(sha256.New, []byte(key))
	mac.Write([]byte(encode(header) + "." + encode([]byte(content))))
	return encode(header) + ".." + encode(mac.Sum(nil)), nil
}
