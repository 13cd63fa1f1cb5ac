package cluster

import (
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"strings"

	bootstraputil "k8s.io/cluster-bootstrap/token/util"
)

// Token is what a machine joins a cluster with: a bootstrap token, by which the
// cluster knows the machine, and the hash of the cluster's CA, by which the
// machine knows the cluster.
type Token struct {
	ID, Secret string
	// Hash is SHA-256 of the CA's SubjectPublicKeyInfo in hex, which kubeadm
	// calls --discovery-token-ca-cert-hash.
	Hash string
}

// ParseToken reads id.secret.hash.
func ParseToken(s string) (Token, error) {
	id, rest, _ := strings.Cut(s, ".")
	secret, hash, ok := strings.Cut(rest, ".")
	t := Token{id, secret, strings.ToLower(strings.TrimPrefix(hash, "sha256:"))}
	if !bootstraputil.IsValidBootstrapToken(t.Bearer()) {
		return Token{}, errors.New("the token is not of the form id.secret.hash, as 'skiff token create' prints it")
	}
	if raw, err := hex.DecodeString(t.Hash); !ok || err != nil || len(raw) != sha256.Size {
		return Token{}, errors.New("the token has no hash of the cluster's CA, without which the cluster can't be told from another: take the whole token that 'skiff token create' prints")
	}
	return t, nil
}

// Bearer is the part that the API server is shown.
func (t Token) Bearer() string { return t.ID + "." + t.Secret }

func (t Token) String() string { return t.Bearer() + "." + t.Hash }

// CAHash is a token's hash of a CA, PEM.
func CAHash(ca []byte) (string, error) {
	block, _ := pem.Decode(ca)
	if block == nil {
		return "", errors.New("the cluster's CA is no PEM")
	}
	c, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return "", fmt.Errorf("the cluster's CA: %w", err)
	}
	return publicKeyHash(c), nil
}

func publicKeyHash(c *x509.Certificate) string {
	sum := sha256.Sum256(c.RawSubjectPublicKeyInfo)
	return hex.EncodeToString(sum[:])
}
