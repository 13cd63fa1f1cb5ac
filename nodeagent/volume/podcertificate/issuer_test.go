package podcertificate_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	certificatesv1 "k8s.io/api/certificates/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	clocktesting "k8s.io/utils/clock/testing"

	"github.com/skiffcluster/skiff/cluster/clustertest"
	"github.com/skiffcluster/skiff/nodeagent/volume"
	"github.com/skiffcluster/skiff/nodeagent/volume/podcertificate"
)

// eventually waits long: large RSA keys take their time on a busy machine.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(5 * time.Minute); !ok(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("never: %s", what)
		}
	}
}

// authority is a signer that a test calls.
type authority struct {
	client      kubernetes.Interface
	key         *ecdsa.PrivateKey
	certificate *x509.Certificate
}

func newAuthority(t *testing.T, client kubernetes.Interface) *authority {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "authority"}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now(), NotAfter: time.Now().Add(time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	certificate, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return &authority{client, key, certificate}
}

// pending gives the requests of a signer that wait for an answer.
func (a *authority) pending(t *testing.T, signer string) []certificatesv1.PodCertificateRequest {
	t.Helper()
	list, err := a.client.CertificatesV1().PodCertificateRequests("default").List(t.Context(), metav1.ListOptions{FieldSelector: "spec.signerName=" + signer})
	if err != nil {
		t.Fatal(err)
	}
	return slices.DeleteFunc(list.Items, func(r certificatesv1.PodCertificateRequest) bool { return len(r.Status.Conditions) > 0 })
}

// next waits for a request of a signer.
func (a *authority) next(t *testing.T, signer string) *certificatesv1.PodCertificateRequest {
	t.Helper()
	var found *certificatesv1.PodCertificateRequest
	eventually(t, "there is a request of "+signer, func() bool {
		if list := a.pending(t, signer); len(list) > 0 {
			found = &list[0]
		}
		return found != nil
	})
	return found
}

// sign issues what is asked for, to be renewed after some time.
func (a *authority) sign(t *testing.T, r *certificatesv1.PodCertificateRequest, refresh time.Duration) {
	t.Helper()
	request, err := x509.ParseCertificateRequest(r.Spec.StubPKCS10Request)
	if err != nil {
		t.Fatal(err)
	}
	begin := time.Now().Truncate(time.Second)
	leaf := &x509.Certificate{
		SerialNumber: big.NewInt(2), DNSNames: []string{r.Spec.PodName},
		NotBefore: begin, NotAfter: begin.Add(time.Duration(*r.Spec.MaxExpirationSeconds) * time.Second),
	}
	der, err := x509.CreateCertificate(rand.Reader, leaf, a.certificate, request.PublicKey, a.key)
	if err != nil {
		t.Fatal(err)
	}
	var chain bytes.Buffer
	for _, c := range [][]byte{der, a.certificate.Raw} {
		if err := pem.Encode(&chain, &pem.Block{Type: "CERTIFICATE", Headers: map[string]string{"Of": "test"}, Bytes: c}); err != nil {
			t.Fatal(err)
		}
		chain.WriteString("text between\n")
	}
	r.Status.CertificateChain = chain.String()
	r.Status.NotBefore, r.Status.NotAfter = &metav1.Time{Time: leaf.NotBefore}, &metav1.Time{Time: leaf.NotAfter}
	r.Status.BeginRefreshAt = &metav1.Time{Time: begin.Add(refresh)}
	a.answer(t, r, certificatesv1.PodCertificateRequestConditionTypeIssued, "Issued", "")
}

func (a *authority) answer(t *testing.T, r *certificatesv1.PodCertificateRequest, condition, reason, message string) {
	t.Helper()
	r.Status.Conditions = []metav1.Condition{{Type: condition, Status: metav1.ConditionTrue, Reason: reason, Message: message, LastTransitionTime: metav1.Now()}}
	if _, err := a.client.CertificatesV1().PodCertificateRequests(r.Namespace).UpdateStatus(t.Context(), r, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
}

// fixture is an issuer on an API server.
type fixture struct {
	*authority
	*podcertificate.Issuer
	clock *clocktesting.FakeClock

	mu      sync.Mutex
	events  []string
	changed int
}

func setUp(t *testing.T) *fixture {
	t.Helper()
	c := clustertest.APIServer(t)
	client, err := kubernetes.NewForConfig(c.RESTConfig())
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Client().Create(t.Context(), &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "robot"}}); err != nil {
		t.Fatal(err)
	}
	f := &fixture{authority: newAuthority(t, client), clock: clocktesting.NewFakeClock(time.Now())}
	f.Issuer = podcertificate.New(podcertificate.Config{
		Client: client, Clock: f.clock, Node: node,
		Event: func(pod *corev1.Pod, reason, message string) {
			f.mu.Lock()
			defer f.mu.Unlock()
			f.events = append(f.events, pod.Name+" "+reason+" "+message)
		},
		Changed: func(types.UID) {
			f.mu.Lock()
			defer f.mu.Unlock()
			f.changed++
		},
	})
	t.Cleanup(f.Stop)
	return f
}

func node() *corev1.Node {
	return &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "node", UID: "node-uid"}}
}

func (f *fixture) told(event string) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Contains(f.events, event)
}

// podWith mounts credentials of signers, one source each.
func podWith(name string, wanted ...corev1.PodCertificateProjection) *corev1.Pod {
	var sources []corev1.VolumeProjection
	for i := range wanted {
		wanted[i].CredentialBundlePath = fmt.Sprintf("bundle-%d.pem", i)
		sources = append(sources, corev1.VolumeProjection{PodCertificate: &wanted[i]})
	}
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name, UID: types.UID(name + "-uid")},
		Spec: corev1.PodSpec{ServiceAccountName: "robot", Volumes: []corev1.Volume{{
			Name: "tls", VolumeSource: corev1.VolumeSource{Projected: &corev1.ProjectedVolumeSource{Sources: sources}},
		}}},
	}
}

func TestEveryKindOfKeyIsCertified(t *testing.T) {
	f := setUp(t)
	kinds := []string{"RSA3072", "RSA4096", "ECDSAP256", "ECDSAP384", "ECDSAP521", "ED25519"}
	var wanted []corev1.PodCertificateProjection
	for _, kind := range kinds {
		wanted = append(wanted, corev1.PodCertificateProjection{SignerName: "example.com/" + strings.ToLower(kind), KeyType: kind})
	}
	pod := podWith("kinds", wanted...)
	answered := make(chan struct{})
	go func() { f.Await(t.Context(), pod, &pod.Spec.Volumes[0]); close(answered) }()
	for _, w := range wanted {
		f.sign(t, f.next(t, w.SignerName), time.Hour)
	}
	<-answered
	for i, kind := range kinds {
		key, chain, err := f.Get(pod, "tls", i)
		if err != nil {
			t.Errorf("%s: %v", kind, err)
			continue
		}
		pair, err := tls.X509KeyPair(chain, key)
		if err != nil || len(pair.Certificate) != 2 {
			t.Errorf("%s: key and certificates do not go together: %v", kind, err)
		}
		if block, rest := pem.Decode(key); block == nil || block.Type != "PRIVATE KEY" || len(rest) > 0 {
			t.Errorf("%s: got key %q…", kind, key[:40])
		}
		if strings.Contains(string(chain), "text") || strings.Contains(string(chain), "Of:") {
			t.Errorf("%s: more than certificates: %s", kind, chain)
		}
	}
}

func TestARequestSaysWhatThePodDoes(t *testing.T) {
	f := setUp(t)
	pod := podWith("web", corev1.PodCertificateProjection{
		SignerName: "example.com/a", KeyType: "ECDSAP256", MaxExpirationSeconds: new(int32(7200)), UserAnnotations: map[string]string{"example.com/path": "/x"},
	})
	if _, _, err := f.Get(pod, "tls", 0); err == nil || err.Error() != "credential bundle is not issued yet" {
		t.Errorf("got %v", err)
	}
	got := f.next(t, "example.com/a")
	if !strings.HasPrefix(got.Name, "req-") || len(got.OwnerReferences) != 1 || got.OwnerReferences[0].UID != pod.UID || got.OwnerReferences[0].Kind != "Pod" {
		t.Errorf("got %+v", got.ObjectMeta)
	}
	s := got.Spec
	if s.PodName != "web" || s.PodUID != pod.UID || s.ServiceAccountName != "robot" || s.ServiceAccountUID == "" || s.NodeName != "node" || s.NodeUID != "node-uid" ||
		*s.MaxExpirationSeconds != 7200 || s.UnverifiedUserAnnotations["example.com/path"] != "/x" {
		t.Errorf("got %+v", s)
	}
	// It is asked once, however often one looks.
	if _, _, err := f.Get(pod, "tls", 0); err == nil {
		t.Error("got a certificate from nobody")
	}
	if n := len(f.pending(t, "example.com/a")); n != 1 {
		t.Errorf("%d requests", n)
	}
}

func TestARefusalIsForGood(t *testing.T) {
	f := setUp(t)
	for _, c := range []struct{ name, condition, want, event string }{
		{
			"denied", certificatesv1.PodCertificateRequestConditionTypeDenied,
			`PodCertificateRequest was permanently denied: reason="NotYou" message="never"`,
			`denied Denied PodCertificateRequest default/%s was denied, reason="NotYou", message="never"`,
		},
		{
			"failed", certificatesv1.PodCertificateRequestConditionTypeFailed,
			`PodCertificateRequest was permanently failed: reason="NotYou" message="never"`,
			`failed Failed PodCertificateRequest default/%s failed, reason="NotYou", message="never"`,
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			signer := "example.com/" + c.name
			pod := podWith(c.name, corev1.PodCertificateProjection{SignerName: signer, KeyType: "ED25519"})
			if _, _, err := f.Get(pod, "tls", 0); err == nil {
				t.Error("got a certificate from nobody")
			}
			r := f.next(t, signer)
			f.answer(t, r, c.condition, "NotYou", "never")
			f.Await(t.Context(), pod, &pod.Spec.Volumes[0])
			if _, _, err := f.Get(pod, "tls", 0); err == nil || err.Error() != c.want {
				t.Errorf("got %v, want %s", err, c.want)
			}
			if want := fmt.Sprintf(c.event, r.Name); !f.told(want) {
				t.Errorf("no event %q in %q", want, f.events)
			}
		})
	}
}

func TestARequestThatIsDeletedIsMadeAgain(t *testing.T) {
	f := setUp(t)
	pod := podWith("web", corev1.PodCertificateProjection{SignerName: "example.com/a", KeyType: "ED25519"})
	if _, _, err := f.Get(pod, "tls", 0); err == nil {
		t.Error("got a certificate from nobody")
	}
	first := f.next(t, "example.com/a")
	if err := f.client.CertificatesV1().PodCertificateRequests("default").Delete(t.Context(), first.Name, metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "there is another request", func() bool {
		f.clock.Step(time.Second)
		list := f.pending(t, "example.com/a")
		return len(list) == 1 && list[0].Name != first.Name
	})
	f.sign(t, f.next(t, "example.com/a"), time.Hour)
	f.Await(t.Context(), pod, &pod.Spec.Volumes[0])
	if _, _, err := f.Get(pod, "tls", 0); err != nil {
		t.Error(err)
	}
}

func TestACertificateIsRenewedInTime(t *testing.T) {
	f := setUp(t)
	pod := podWith("web", corev1.PodCertificateProjection{SignerName: "example.com/a", KeyType: "ECDSAP256", MaxExpirationSeconds: new(int32(7 * 86400))})
	if _, _, err := f.Get(pod, "tls", 0); err == nil {
		t.Error("got a certificate from nobody")
	}
	f.sign(t, f.next(t, "example.com/a"), time.Hour)
	f.Await(t.Context(), pod, &pod.Spec.Volumes[0])
	key, chain, err := f.Get(pod, "tls", 0)
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "it is slept until the renewal", f.clock.HasWaiters)
	f.clock.Step(59 * time.Minute)
	if n := len(f.pending(t, "example.com/a")); n != 0 {
		t.Errorf("renewed before its time: %d requests", n)
	}
	// At the time for it, or up to five minutes later.
	f.clock.Step(6*time.Minute + time.Second)
	again := f.next(t, "example.com/a")
	if k, c, err := f.Get(pod, "tls", 0); err != nil || !bytes.Equal(k, key) || !bytes.Equal(c, chain) {
		t.Errorf("while it is renewed the old one serves: %v", err)
	}
	eventually(t, "who waits for the renewal is there", f.clock.HasWaiters)
	f.clock.Step(15 * time.Minute)
	eventually(t, "it is told that the renewal is late", func() bool { return f.told("web CertificateOverdueForRefresh PodCertificate refresh overdue") })
	eventually(t, "who waits for the end is there", f.clock.HasWaiters)
	f.clock.Step(7 * 24 * time.Hour)
	eventually(t, "it is told that the certificate has expired", func() bool { return f.told("web CertificateExpired PodCertificate expired") })
	f.sign(t, again, 7*24*time.Hour-time.Hour)
	eventually(t, "there is another key", func() bool {
		k, c, err := f.Get(pod, "tls", 0)
		if err != nil || bytes.Equal(k, key) {
			return false
		}
		_, err = tls.X509KeyPair(c, k)
		return err == nil
	})
	eventually(t, "its user is told", func() bool {
		f.mu.Lock()
		defer f.mu.Unlock()
		return f.changed >= 2
	})
}

func TestAForgottenPodAsksForNothing(t *testing.T) {
	f := setUp(t)
	pod := podWith("web", corev1.PodCertificateProjection{SignerName: "example.com/a", KeyType: "ED25519"})
	if _, _, err := f.Get(pod, "tls", 0); err == nil {
		t.Error("got a certificate from nobody")
	}
	r := f.next(t, "example.com/a")
	f.Forget(pod.UID)
	f.Stop() // returns only when all has ended
	f.sign(t, r, time.Hour)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	f.Await(ctx, pod, &pod.Spec.Volumes[0])
	if _, _, err := f.Get(pod, "tls", 0); err == nil {
		t.Error("got a certificate after the end")
	}
	if n := len(f.pending(t, "example.com/a")); n != 0 {
		t.Errorf("%d requests after the end", n)
	}
}

// objects are none.
type objects struct{ volume.Objects }

func (objects) Register(*corev1.Pod)     {}
func (objects) Unregister(types.UID)     {}
func (objects) Changed() <-chan struct{} { return nil }

func TestAVolumeHasTheFilesThatItsPodNames(t *testing.T) {
	f := setUp(t)
	changed := make(chan types.UID, 10)
	v, err := volume.New(volume.Config{
		DataDir: t.TempDir(), Client: f.client, Objects: objects{}, Node: node, Unprivileged: true,
		Changed: func(uid types.UID) { changed <- uid },
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- v.Run(ctx) }()
	defer func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}()
	pod := podWith("files", corev1.PodCertificateProjection{SignerName: "example.com/a", KeyType: "ED25519", KeyPath: "tls/key.pem", CertificateChainPath: "tls/chain.pem"})
	pod.Spec.SecurityContext = &corev1.PodSecurityContext{RunAsUser: new(int64(1000))}
	pod.Spec.Containers = []corev1.Container{{Name: "c", VolumeMounts: []corev1.VolumeMount{{Name: "tls", MountPath: "/tls"}}}}

	// Without an answer the pod waits, with the kubelet's words; then it is told
	// to go on.
	err = v.Prepare(ctx, pod)
	if failures := volume.Failures(err); len(failures) != 1 ||
		failures[0].Message != `MountVolume.SetUp failed for volume "tls" : credential bundle is not issued yet` {
		t.Errorf("got %v", err)
	}
	f.sign(t, f.next(t, "example.com/a"), time.Hour)
	if uid := <-changed; uid != pod.UID {
		t.Errorf("%s has changed", uid)
	}
	if err := v.Prepare(ctx, pod); err != nil {
		t.Fatal(err)
	}
	dir, err := v.Path(ctx, pod, "tls")
	if err != nil {
		t.Fatal(err)
	}
	read := func(name string) []byte {
		t.Helper()
		file := filepath.Join(dir, name)
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: mode %v (%v)", name, info.Mode(), err)
		}
		return data
	}
	key, chain := read("tls/key.pem"), read("tls/chain.pem")
	if _, err := tls.X509KeyPair(chain, key); err != nil {
		t.Error(err)
	}
	if bundle := read("bundle-0.pem"); !bytes.Equal(bundle, slices.Concat(key, chain)) {
		t.Errorf("the bundle is not key and chain: %s", bundle)
	}
	if err := v.Teardown(pod.UID); err != nil {
		t.Error(err)
	}
}
