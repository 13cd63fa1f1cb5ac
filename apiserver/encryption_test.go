package apiserver_test

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apiserver/pkg/server/options/encryptionconfig/controller"
	"k8s.io/client-go/kubernetes"

	"github.com/skiffcluster/skiff/apiserver"
)

func init() { controller.EncryptionConfigFileChangePollDuration = 50 * time.Millisecond }

// keyOf is 32 bytes, base64.
func keyOf(name string) string {
	return base64.StdEncoding.EncodeToString([]byte(fmt.Sprintf("%-32s", name)))
}

// provider is one of an EncryptionConfiguration's.
func provider(kind string, keys ...string) string {
	if kind == "identity" {
		return "  - identity: {}\n"
	}
	out := "  - " + kind + ":\n      keys:\n"
	for _, k := range keys {
		out += "      - {name: " + k + ", secret: " + keyOf(k) + "}\n"
	}
	return out
}

func encryption(resources string, providers ...string) string {
	return "apiVersion: apiserver.config.k8s.io/v1\nkind: EncryptionConfiguration\nresources:\n- resources: [" + resources + "]\n  providers:\n" + strings.Join(providers, "")
}

// encrypted starts a server on dir that encrypts as config says.
func encrypted(t *testing.T, dir, config string) (*bare, string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "encryption.yaml")
	if err := os.WriteFile(path, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	c := onDisk(dir)
	c.Etcd.Encryption.ConfigFile = path
	return start(t, c), path
}

// stored is what etcd has under a key.
func stored(t *testing.T, s *bare, key string) []byte {
	t.Helper()
	r, err := s.Store().Client.KV.Get(t.Context(), "/registry/"+key)
	if err != nil || len(r.Kvs) != 1 {
		t.Fatalf("%s: %v %v", key, err, r)
	}
	return r.Kvs[0].Value
}

const hidden = "nobody-may-read-this"

func makeSecret(t *testing.T, k kubernetes.Interface, name string) {
	t.Helper()
	if _, err := k.CoreV1().Secrets("default").Create(t.Context(), &corev1.Secret{ObjectMeta: named(name), StringData: map[string]string{"a": hidden}}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
}

func readSecret(t *testing.T, k kubernetes.Interface, name string) {
	t.Helper()
	s, err := k.CoreV1().Secrets("default").Get(t.Context(), name, metav1.GetOptions{})
	if err != nil || string(s.Data["a"]) != hidden {
		t.Errorf("%s: %v %v", name, err, s)
	}
}

// rewriteSecrets is 'kubectl get secrets -A -o json | kubectl replace -f -'.
func rewriteSecrets(t *testing.T, k kubernetes.Interface) {
	t.Helper()
	l, err := k.CoreV1().Secrets("").List(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for i := range l.Items {
		if _, err := k.CoreV1().Secrets(l.Items[i].Namespace).Update(t.Context(), &l.Items[i], metav1.UpdateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
}

func expectStored(t *testing.T, s *bare, name, prefix string) {
	t.Helper()
	raw := stored(t, s, "secrets/default/"+name)
	if !bytes.HasPrefix(raw, []byte(prefix)) || bytes.Contains(raw, []byte(hidden)) != strings.HasPrefix(prefix, "k8s\x00") {
		t.Errorf("%s is stored as %q", name, raw[:min(len(raw), 60)])
	}
}

func TestSecretsAreStoredEncryptedAndNothingElseIs(t *testing.T) {
	t.Parallel()
	for _, kind := range []string{"aescbc", "aesgcm", "secretbox"} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			s, _ := encrypted(t, t.TempDir(), encryption("secrets", provider(kind, "key1"), provider("identity")))
			k := clientset(t, s.admin())
			makeSecret(t, k, "a")
			readSecret(t, k, "a")
			expectStored(t, s, "a", "k8s:enc:"+kind+":v1:key1:")
			makeMap(t, k, &corev1.ConfigMap{ObjectMeta: named("a"), Data: map[string]string{"a": hidden}})
			if !bytes.Contains(stored(t, s, "configmaps/default/a"), []byte(hidden)) {
				t.Error("the config map is encrypted")
			}
		})
	}
}

func TestKeysAreRotated(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	step := func(config string, do func(s *bare, k *kubernetes.Clientset)) {
		t.Helper()
		s, _ := encrypted(t, dir, config)
		do(s, clientset(t, s.admin()))
		if err := s.stop(); err != nil {
			t.Fatal(err)
		}
	}
	step(encryption("secrets", provider("identity")), func(s *bare, k *kubernetes.Clientset) {
		makeSecret(t, k, "plain")
		expectStored(t, s, "plain", "k8s\x00")
	})
	step(encryption("secrets", provider("aesgcm", "key1"), provider("identity")), func(s *bare, k *kubernetes.Clientset) {
		makeSecret(t, k, "one")
		readSecret(t, k, "plain")
		expectStored(t, s, "plain", "k8s\x00")
		expectStored(t, s, "one", "k8s:enc:aesgcm:v1:key1:")
		rewriteSecrets(t, k)
		expectStored(t, s, "plain", "k8s:enc:aesgcm:v1:key1:")
	})
	step(encryption("secrets", provider("aesgcm", "key2", "key1")), func(s *bare, k *kubernetes.Clientset) {
		makeSecret(t, k, "two")
		readSecret(t, k, "one")
		expectStored(t, s, "one", "k8s:enc:aesgcm:v1:key1:")
		expectStored(t, s, "two", "k8s:enc:aesgcm:v1:key2:")
		rewriteSecrets(t, k)
	})
	step(encryption("secrets", provider("secretbox", "key3"), provider("aesgcm", "key2")), func(s *bare, k *kubernetes.Clientset) {
		for _, name := range []string{"plain", "one", "two"} {
			readSecret(t, k, name)
			expectStored(t, s, name, "k8s:enc:aesgcm:v1:key2:")
		}
	})
}

// TestAWrongKey: the server serves everything else, and says what it can't read.
func TestAWrongKey(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	first, _ := encrypted(t, dir, encryption("secrets", provider("aesgcm", "key1")))
	makeSecret(t, clientset(t, first.admin()), "a")
	if err := first.stop(); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ name, config, want string }{
		{"no key", encryption("secrets", provider("identity")), "no matching prefix found"},
		{"a key of another name", encryption("secrets", provider("aesgcm", "key2")), "no matching key was found for the provided AES transformer"},
		{"another provider", encryption("secrets", provider("secretbox", "key1")), "no matching prefix found"},
		{"another key of the same name", strings.Replace(encryption("secrets", provider("aesgcm", "key1")), keyOf("key1"), keyOf("other"), 1), "cipher: message authentication failed"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s, _ := encrypted(t, dir, c.config)
			k := clientset(t, s.admin())
			_, err := k.CoreV1().Secrets("default").Get(t.Context(), "a", metav1.GetOptions{})
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("get: %v", err)
			}
			list := rawTo(t, s.admin())
			eventually(t, func() error { // until the cache has tried
				if a := list.get("/api/v1/secrets"); !strings.Contains(a.status(t).Message, `unable to transform key "/registry/secrets/default/a": `+c.want) {
					return fmt.Errorf("list: %d %s", a.code, a.body)
				}
				return nil
			})
			makeMap(t, k, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "default", GenerateName: "m-"}})
			if err := s.stop(); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestAChangedConfigurationIsInForceWithoutARestart(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "encryption.yaml")
	write := func(config string) {
		t.Helper()
		if err := os.WriteFile(path+".new", []byte(config), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(path+".new", path); err != nil {
			t.Fatal(err)
		}
	}
	write(encryption("secrets", provider("aesgcm", "key1")))
	c := onDisk(t.TempDir())
	c.Etcd.Encryption.ConfigFile, c.Etcd.Encryption.AutomaticReload = path, true
	s := start(t, c)
	k := clientset(t, s.admin())
	makeSecret(t, k, "one")
	expectStored(t, s, "one", "k8s:enc:aesgcm:v1:key1:")
	write(encryption("secrets", provider("secretbox", "key2"), provider("aesgcm", "key1")))
	n := 0
	eventually(t, func() error {
		n++
		name := fmt.Sprintf("try-%d", n)
		makeSecret(t, k, name)
		if raw := stored(t, s, "secrets/default/"+name); !bytes.HasPrefix(raw, []byte("k8s:enc:secretbox:v1:key2:")) {
			return fmt.Errorf("stored as %q", raw[:30])
		}
		return nil
	})
	readSecret(t, k, "one")
	rewriteSecrets(t, k)
	expectStored(t, s, "one", "k8s:enc:secretbox:v1:key2:")
}

func TestCustomResourcesAreEncryptedToo(t *testing.T) {
	t.Parallel()
	s, _ := encrypted(t, t.TempDir(), encryption("widgets.example.com, '*.apps'", provider("aescbc", "key1")))
	r := rawTo(t, s.admin())
	if a := r.do("POST", "/apis/apiextensions.k8s.io/v1/customresourcedefinitions", `{"metadata":{"name":"widgets.example.com"},"spec":{"group":"example.com","scope":"Namespaced","names":{"plural":"widgets","kind":"Widget"},
		"versions":[{"name":"v1","served":true,"storage":true,"schema":{"openAPIV3Schema":{"type":"object","x-kubernetes-preserve-unknown-fields":true}}}]}}`); a.code != 201 {
		t.Fatalf("%d %s", a.code, a.body)
	}
	widgets := "/apis/example.com/v1/namespaces/default/widgets"
	eventually(t, func() error {
		if a := r.do("POST", widgets, `{"apiVersion":"example.com/v1","kind":"Widget","metadata":{"name":"w"},"a":"`+hidden+`"}`); a.code != 201 {
			return fmt.Errorf("%d %s", a.code, a.body)
		}
		return nil
	})
	if a := r.get(widgets + "/w"); a.code != 200 || !bytes.Contains(a.body, []byte(hidden)) {
		t.Errorf("%d %s", a.code, a.body)
	}
	if raw := stored(t, s, "example.com/widgets/default/w"); !bytes.HasPrefix(raw, []byte("k8s:enc:aescbc:v1:key1:")) {
		t.Errorf("%q", raw)
	}
	if _, err := clientset(t, s.admin()).AppsV1().Deployments("default").Create(t.Context(), deployment("d"), metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	if raw := stored(t, s, "apps/deployments/default/d"); !bytes.HasPrefix(raw, []byte("k8s:enc:aescbc:v1:key1:")) {
		t.Errorf("a whole group: %q", raw)
	}
}

func TestEncryptionConfigurationsThatCanNotBe(t *testing.T) {
	t.Parallel()
	good := encryption("secrets", provider("aesgcm", "key1"))
	for _, c := range []struct{ name, text, want string }{
		{"not there", "", "no such file or directory"},
		{"broken YAML", "a: [\n", "yaml: line 1"},
		{"a field that there is not", strings.Replace(good, "providers", "provider", 1), `unknown field "resources[0].provider"`},
		{"a key that is too short", strings.Replace(good, keyOf("key1"), "YQ==", 1), "secret is not of the expected length, got 1, expected one of [16 24 32]"},
		{"a key that is not base64", strings.Replace(good, keyOf("key1"), "'!!!!'", 1), "secrets must be base64 encoded"},
	} {
		t.Run(c.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "e.yaml")
			if c.text != "" {
				if err := os.WriteFile(path, []byte(c.text), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			cfg := onDisk(t.TempDir())
			cfg.Etcd.Encryption.ConfigFile = path
			_, err := apiserver.New(t.Context(), cfg)
			if err == nil || !strings.HasPrefix(err.Error(), "--encryption-provider-config "+path+": ") || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%v", err)
			}
		})
	}
	cfg := onDisk(t.TempDir())
	cfg.Etcd.Encryption.AutomaticReload = true
	if _, err := apiserver.New(t.Context(), cfg); err == nil || err.Error() != "--encryption-provider-config-automatic-reload must be set with --encryption-provider-config" {
		t.Errorf("%v", err)
	}
}
