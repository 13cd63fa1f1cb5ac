package cluster_test

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	admissionv1 "k8s.io/api/admission/v1"
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	certutil "k8s.io/client-go/util/cert"
	"k8s.io/utils/ptr"

	"github.com/skiffcluster/skiff/apiserver"
	"github.com/skiffcluster/skiff/cluster"
	"github.com/skiffcluster/skiff/cluster/clustertest"
)

// An API server on a machine without a way to pods asks the pod's agent, in
// either family: nothing listens in a simulated pod, which it is who says so.
func TestPodsAreReachedByTheirAgents(t *testing.T) {
	c := clustertest.With(t, cluster.Config{
		ClusterCIDR: "10.244.0.0/16,fd00:244::/56", APIServer: apiserver.Config{ServiceClusterIPRange: "10.96.0.0/16,fd00:96::/112"},
	})
	k := clientOf(t, c.Cluster)
	within(t, func() error { // its service account comes after the namespace
		_, err := k.CoreV1().Pods("default").Create(t.Context(), &corev1.Pod{
			ObjectMeta: metav1.ObjectMeta{Name: "p"}, Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "c", Image: "i"}}},
		}, metav1.CreateOptions{})
		return err
	})
	var pod *corev1.Pod
	within(t, func() (err error) {
		if pod, err = k.CoreV1().Pods("default").Get(t.Context(), "p", metav1.GetOptions{}); err == nil && pod.Status.Phase != corev1.PodRunning {
			err = fmt.Errorf("the pod is %s", pod.Status.Phase)
		}
		return err
	})
	if len(pod.Status.PodIPs) != 2 {
		t.Fatalf("the pod has the addresses %v", pod.Status.PodIPs)
	}
	code := 0
	raw, _ := k.CoreV1().RESTClient().Get().AbsPath("/api/v1/namespaces/default/pods/p:8080/proxy/").Do(t.Context()).StatusCode(&code).Raw()
	if code != http.StatusServiceUnavailable || !strings.Contains(string(raw), "port 8080 of a simulated pod: connection refused") {
		t.Errorf("%d %s", code, raw)
	}
}

// Webhooks of services are reached as pods are, at an address of an endpoint.
func TestWebhooksAreDialledAsPods(t *testing.T) {
	const name = "hook.default.svc"
	cert, key, err := certutil.GenerateSelfSignedCertKey(name, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	pair, err := tls.X509KeyPair(cert, key)
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var review admissionv1.AdmissionReview
		if err := json.NewDecoder(r.Body).Decode(&review); err != nil {
			t.Error(err)
			return
		}
		review.Response = &admissionv1.AdmissionResponse{UID: review.Request.UID, Result: &metav1.Status{Message: "not by this one"}}
		if err := json.NewEncoder(w).Encode(review); err != nil {
			t.Error(err)
		}
	}))
	server.TLS = &tls.Config{Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12}
	server.StartTLS()
	t.Cleanup(server.Close)
	dialled := make(chan string, 10)
	c := clustertest.With(t, cluster.Config{APIServer: apiserver.Config{DialNode: func(ctx context.Context, network, address string) (net.Conn, error) {
		if address == "10.244.9.9:8443" {
			dialled <- address
			address = server.Listener.Addr().String()
		}
		return (&net.Dialer{}).DialContext(ctx, network, address)
	}}})
	k := clientOf(t, c.Cluster)
	_, err = k.CoreV1().Services("default").Create(t.Context(), &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Name: "hook"}, Spec: corev1.ServiceSpec{Ports: []corev1.ServicePort{{Port: 443}}},
	}, metav1.CreateOptions{})
	if err == nil {
		_, err = k.DiscoveryV1().EndpointSlices("default").Create(t.Context(), &discoveryv1.EndpointSlice{
			ObjectMeta:  metav1.ObjectMeta{Name: "hook-1", Labels: map[string]string{discoveryv1.LabelServiceName: "hook"}},
			AddressType: discoveryv1.AddressTypeIPv4, Ports: []discoveryv1.EndpointPort{{Port: ptr.To[int32](8443)}},
			Endpoints: []discoveryv1.Endpoint{{Addresses: []string{"10.244.9.9"}}},
		}, metav1.CreateOptions{})
	}
	if err == nil {
		_, err = k.AdmissionregistrationV1().ValidatingWebhookConfigurations().Create(t.Context(), &admissionregistrationv1.ValidatingWebhookConfiguration{
			ObjectMeta: metav1.ObjectMeta{Name: "hook"},
			Webhooks: []admissionregistrationv1.ValidatingWebhook{{
				Name: "hook.example.com", AdmissionReviewVersions: []string{"v1"}, SideEffects: ptr.To(admissionregistrationv1.SideEffectClassNone),
				ClientConfig: admissionregistrationv1.WebhookClientConfig{Service: &admissionregistrationv1.ServiceReference{Namespace: "default", Name: "hook"}, CABundle: cert},
				Rules: []admissionregistrationv1.RuleWithOperations{{
					Operations: []admissionregistrationv1.OperationType{admissionregistrationv1.Create},
					Rule:       admissionregistrationv1.Rule{APIGroups: []string{""}, APIVersions: []string{"v1"}, Resources: []string{"configmaps"}},
				}},
			}},
		}, metav1.CreateOptions{})
	}
	if err != nil {
		t.Fatal(err)
	}
	refused := 0
	within(t, func() error {
		refused++
		_, err := k.CoreV1().ConfigMaps("default").Create(t.Context(), &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprint("c", refused)}}, metav1.CreateOptions{})
		if err == nil || !strings.Contains(err.Error(), `admission webhook "hook.example.com" denied the request: not by this one`) {
			return fmt.Errorf("the webhook was not asked: %v", err) //nolint:errorlint // it may be nil
		}
		return nil
	})
	if len(dialled) == 0 {
		t.Error("it was reached by another way")
	}
}
