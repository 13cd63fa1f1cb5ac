package auth

import (
	"crypto"
	"fmt"

	"k8s.io/client-go/util/keyutil"
)

// SigningKey reads the private key, PEM, RSA or ECDSA, that signs
// service-account tokens.
func SigningKey(file string) (crypto.Signer, error) {
	k, err := keyutil.PrivateKeyFromFile(file)
	if err != nil {
		return nil, fmt.Errorf("--service-account-signing-key-file %s: %w", file, err)
	}
	signer, ok := k.(crypto.Signer)
	if !ok {
		return nil, fmt.Errorf("--service-account-signing-key-file %s: a %T does not sign", file, k)
	}
	return signer, nil
}

// VerifyingKeys reads the public keys, or private keys for theirs, that
// service-account tokens may be signed with. A file may hold several.
func VerifyingKeys(files ...string) ([]crypto.PublicKey, error) {
	var out []crypto.PublicKey
	for _, f := range files {
		keys, err := keyutil.PublicKeysFromFile(f)
		if err != nil {
			return nil, fmt.Errorf("--service-account-key-file %s: %w", f, err)
		}
		for _, k := range keys {
			out = append(out, k)
		}
	}
	return out, nil
}
