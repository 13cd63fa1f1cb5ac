package apiserver_test

import (
	"bytes"
	"context"
	"crypto/aes"
	"crypto/cipher"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/kubernetes"
	kmsservice "k8s.io/kms/pkg/service"
)

// kms keeps keys as a KMS v2 plugin does. The last encrypts, all decrypt;
// without any it is out of order.
type kms struct {
	mu   sync.Mutex
	keys []string
}

func (k *kms) set(keys ...string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.keys = keys
}

// open gives the key of an id, or the one that encrypts.
func (k *kms) open(id string) (string, cipher.AEAD, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for i := len(k.keys) - 1; i >= 0; i-- {
		if key := k.keys[i]; id == "" || id == key {
			b, err := aes.NewCipher([]byte(fmt.Sprintf("%-32s", key)))
			if err != nil {
				return "", nil, err
			}
			a, err := cipher.NewGCM(b)
			return key, a, err
		}
	}
	return "", nil, errors.New("there is no key " + id)
}

func (k *kms) Encrypt(_ context.Context, _ string, data []byte) (*kmsservice.EncryptResponse, error) {
	id, a, err := k.open("")
	if err != nil {
		return nil, err
	}
	return &kmsservice.EncryptResponse{Ciphertext: a.Seal(nil, make([]byte, a.NonceSize()), data, nil), KeyID: id}, nil
}

func (k *kms) Decrypt(_ context.Context, _ string, r *kmsservice.DecryptRequest) ([]byte, error) {
	_, a, err := k.open(r.KeyID)
	if err != nil {
		return nil, err
	}
	return a.Open(nil, make([]byte, a.NonceSize()), r.Ciphertext, nil)
}

func (k *kms) Status(context.Context) (*kmsservice.StatusResponse, error) {
	id, _, err := k.open("")
	if err != nil {
		return nil, err
	}
	return &kmsservice.StatusResponse{Version: "v2", Healthz: "ok", KeyID: id}, nil
}

// serve answers on the socket until the end of the test, or until stop.
func (k *kms) serve(t *testing.T, socket string) (stop func()) {
	t.Helper()
	server, served := kmsservice.NewGRPCService(socket, time.Second, k), make(chan error, 1)
	go func() { served <- server.ListenAndServe() }()
	eventually(t, func() error { _, err := os.Stat(socket); return err })
	stop = sync.OnceFunc(func() { server.Close(); <-served })
	t.Cleanup(stop)
	return stop
}

// whenReady waits until the server has keys. It asks a plugin that was well
// each 20 s, and one that was not each 3 s, while somebody looks at /readyz.
func whenReady(t *testing.T, r *raw, done func() error) {
	t.Helper()
	var last error
	if err := wait.PollUntilContextTimeout(t.Context(), 200*time.Millisecond, 2*patience, true, func(context.Context) (bool, error) {
		if a := r.get("/readyz"); a.code != http.StatusOK {
			last = fmt.Errorf("%d %s", a.code, a.body)
		} else {
			last = done()
		}
		return last == nil, nil
	}); err != nil {
		t.Fatalf("%v: %v", err, last)
	}
}

func nothing() error { return nil }

func vault(socket string) string {
	return encryption("secrets", "  - kms: {apiVersion: v2, name: vault, endpoint: 'unix://"+socket+"', timeout: 1s}\n")
}

func keyServiceIsMissed(t *testing.T, r *raw, k kubernetes.Interface) {
	t.Helper()
	for _, path := range []string{"/healthz/kms-providers", "/readyz/kms-providers", "/readyz"} {
		if a := r.get(path); a.code != http.StatusInternalServerError {
			t.Errorf("%s: %d %s", path, a.code, a.body)
		}
	}
	if a := r.get("/livez"); a.code != http.StatusOK {
		t.Errorf("a key service that is out of order kills the server: %d %s", a.code, a.body)
	}
	if _, err := k.CoreV1().Secrets("default").Create(t.Context(), &corev1.Secret{ObjectMeta: named("early")}, metav1.CreateOptions{}); err == nil {
		t.Error("a secret is stored without a key")
	}
	makeMap(t, k.(*kubernetes.Clientset), &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "default", GenerateName: "m-"}})
}

// sealedBy says with which key of the plugin's a secret is stored.
func sealedBy(t *testing.T, s *bare, name string, keys ...string) string {
	t.Helper()
	expectStored(t, s, name, "k8s:enc:kms:v2:vault:")
	raw := stored(t, s, "secrets/default/"+name)
	for _, key := range keys {
		if bytes.Contains(raw, []byte(key)) {
			return key
		}
	}
	t.Fatalf("%s is stored as %q", name, raw)
	return ""
}

func TestAKeyManagementServiceRotatesItsKey(t *testing.T) {
	t.Parallel()
	socket, plugin := filepath.Join(t.TempDir(), "kms.sock"), &kms{}
	plugin.serve(t, socket)
	s, _ := encrypted(t, t.TempDir(), vault(socket))
	r, k := rawTo(t, s.admin()), clientset(t, s.admin())
	keyServiceIsMissed(t, r, k)
	plugin.set("key-one")
	whenReady(t, r, nothing)
	makeSecret(t, k, "a")
	readSecret(t, k, "a")
	if got := sealedBy(t, s, "a", "key-one", "key-two"); got != "key-one" {
		t.Errorf("%q", got)
	}
	plugin.set("key-one", "key-two")
	n := 0
	whenReady(t, r, func() error {
		n++
		name := fmt.Sprintf("try-%d", n)
		makeSecret(t, k, name)
		if got := sealedBy(t, s, name, "key-one", "key-two"); got != "key-two" {
			return errors.New("new secrets are sealed by " + got)
		}
		return nil
	})
	readSecret(t, k, "a")
	if got := sealedBy(t, s, "a", "key-one", "key-two"); got != "key-one" {
		t.Errorf("what nobody wrote is sealed by %q", got)
	}
	rewriteSecrets(t, k)
	for _, name := range []string{"a", "try-1"} {
		if got := sealedBy(t, s, name, "key-one", "key-two"); got != "key-two" {
			t.Errorf("%s, written again, is sealed by %q", name, got)
		}
	}
}

func TestAKeyManagementServiceGoesAwayAndComesBack(t *testing.T) {
	t.Parallel()
	dir, socket, plugin := t.TempDir(), filepath.Join(t.TempDir(), "kms.sock"), &kms{}
	plugin.set("key-one")
	stop := plugin.serve(t, socket)
	s, path := encrypted(t, dir, vault(socket))
	r, k := rawTo(t, s.admin()), clientset(t, s.admin())
	whenReady(t, r, nothing)
	makeSecret(t, k, "a")
	stop()
	// Its last answer is good for writes for three minutes, and for reads
	// always: secrets are sealed by keys derived from one that it sealed.
	readSecret(t, k, "a")
	makeSecret(t, k, "b")
	if err := s.stop(); err != nil {
		t.Fatal(err)
	}
	c := onDisk(dir)
	c.Etcd.Encryption.ConfigFile = path
	s = start(t, c)
	r, k = rawTo(t, s.admin()), clientset(t, s.admin())
	keyServiceIsMissed(t, r, k)
	if _, err := k.CoreV1().Secrets("default").Get(t.Context(), "a", metav1.GetOptions{}); err == nil || !strings.Contains(err.Error(), "got unexpected nil transformer") {
		t.Errorf("a secret whose key is away: %v", err)
	}
	plugin.set("key-one", "key-two")
	plugin.serve(t, socket)
	whenReady(t, r, nothing)
	eventually(t, func() error {
		_, err := k.CoreV1().Secrets("").List(t.Context(), metav1.ListOptions{})
		return err
	})
	readSecret(t, k, "a")
	readSecret(t, k, "b")
	makeSecret(t, k, "c")
	if a, c := sealedBy(t, s, "a", "key-one", "key-two"), sealedBy(t, s, "c", "key-one", "key-two"); a != "key-one" || c != "key-two" {
		t.Errorf("%q, %q", a, c)
	}
	rewriteSecrets(t, k)
	if err := s.stop(); err != nil {
		t.Fatal(err)
	}
	plugin.set("key-two") // the first is destroyed
	s = start(t, c)
	k = clientset(t, s.admin())
	whenReady(t, rawTo(t, s.admin()), nothing)
	for _, name := range []string{"a", "b", "c"} {
		readSecret(t, k, name)
	}
}
