package serviceaccounttoken

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"

	"github.com/golang-jwt/jwt/v5"
	corev1 "k8s.io/api/core/v1"
)

// LegacyIssuer is the issuer of tokens kept in Secrets, other than that of the
// expiring tokens of the TokenRequest API.
const LegacyIssuer = "kubernetes/serviceaccount"

// claims are those that authenticators of service accounts look for in a token
// kept in a Secret
// (https://kubernetes.io/docs/reference/access-authn-authz/service-accounts-admin/).
func claims(account *corev1.ServiceAccount, secret *corev1.Secret) jwt.MapClaims {
	return jwt.MapClaims{
		"iss":                                    LegacyIssuer,
		"sub":                                    "system:serviceaccount:" + account.Namespace + ":" + account.Name,
		"kubernetes.io/serviceaccount/namespace": account.Namespace,
		"kubernetes.io/serviceaccount/service-account.name": account.Name,
		"kubernetes.io/serviceaccount/service-account.uid":  string(account.UID),
		"kubernetes.io/serviceaccount/secret.name":          secret.Name,
	}
}

// signer makes tokens with one key.
type signer struct {
	key    crypto.Signer
	method jwt.SigningMethod
	keyID  string
}

// newSigner wants an RSA or an ECDSA key, as --service-account-private-key-file
// has it.
func newSigner(key crypto.Signer) (*signer, error) {
	s := &signer{key: key}
	switch key := key.(type) {
	case *rsa.PrivateKey:
		s.method = jwt.SigningMethodRS256
	case *ecdsa.PrivateKey:
		switch key.Curve {
		case elliptic.P256():
			s.method = jwt.SigningMethodES256
		case elliptic.P384():
			s.method = jwt.SigningMethodES384
		case elliptic.P521():
			s.method = jwt.SigningMethodES512
		default:
			return nil, errors.New("sign service account tokens: unknown elliptic curve, must be 256, 384, or 521")
		}
	case ed25519.PrivateKey:
		return nil, errors.New("sign service account tokens: an Ed25519 key is not supported, RSA or ECDSA is")
	default:
		return nil, fmt.Errorf("sign service account tokens: a key of type %T is not supported, RSA or ECDSA is", key)
	}
	// The key's ID tells authenticators which of several public keys to try.
	der, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		return nil, fmt.Errorf("sign service account tokens: %w", err)
	}
	sum := sha256.Sum256(der)
	s.keyID = base64.RawURLEncoding.EncodeToString(sum[:])
	return s, nil
}

func (s *signer) sign(c jwt.MapClaims) (string, error) {
	token := jwt.NewWithClaims(s.method, c)
	token.Header["kid"] = s.keyID
	return token.SignedString(s.key)
}
