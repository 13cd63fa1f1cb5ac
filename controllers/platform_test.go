package controllers_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"strings"
	"testing"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	certificatesv1 "k8s.io/api/certificates/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/skiffcluster/skiff/cluster/clustertest"
)

func TestClusterRolesAreAggregated(t *testing.T) {
	api := clustertest.APIServer(t)
	c := api.Client()
	var before rbacv1.ClusterRoleList
	if err := c.List(t.Context(), &before); err != nil {
		t.Fatal(err)
	}
	c2 := startAt(t, api, "clusterrole-aggregation-controller")
	role := &rbacv1.ClusterRole{
		ObjectMeta: metav1.ObjectMeta{Name: "widget-editor", Labels: map[string]string{"rbac.authorization.k8s.io/aggregate-to-edit": "true"}},
		Rules:      []rbacv1.PolicyRule{{APIGroups: []string{"example.com"}, Resources: []string{"widgets"}, Verbs: []string{"create"}}},
	}
	create(t, c2, role)
	eventually(t, func() string {
		for _, name := range []string{"edit", "admin"} {
			gathered := &rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: name}}
			get(t, c, gathered)
			found := false
			for _, rule := range gathered.Rules {
				found = found || len(rule.APIGroups) == 1 && rule.APIGroups[0] == "example.com"
			}
			if !found {
				return name + " has no rule of widgets"
			}
		}
		return ""
	})
	// What a cluster begins with is as the controller wants it.
	view := &rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: "view"}}
	get(t, c, view)
	for i := range before.Items {
		if before.Items[i].Name == "view" && before.Items[i].ResourceVersion != view.ResourceVersion {
			t.Errorf("view was written: %v", view.Rules)
		}
	}
}

func certificateRequest(t *testing.T, name, signer string, subject pkix.Name, usages ...certificatesv1.KeyUsage) *certificatesv1.CertificateSigningRequest {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{Subject: subject}, key)
	if err != nil {
		t.Fatal(err)
	}
	return &certificatesv1.CertificateSigningRequest{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec: certificatesv1.CertificateSigningRequestSpec{
			Request: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der}), SignerName: signer, Usages: usages, ExpirationSeconds: ptr.To[int32](3600),
		},
	}
}

func approve(t *testing.T, c client.Client, csr *certificatesv1.CertificateSigningRequest) {
	t.Helper()
	csr.Status.Conditions = append(csr.Status.Conditions, certificatesv1.CertificateSigningRequestCondition{Type: certificatesv1.CertificateApproved, Status: corev1.ConditionTrue, Reason: "ByHand"})
	if err := c.SubResource("approval").Update(t.Context(), csr); err != nil {
		t.Fatal(err)
	}
}

func TestCertificatesInCluster(t *testing.T) {
	api := clustertest.New(t)
	c := api.Client()
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(api.CA())

	t.Run("a node agent's is approved and signed", func(t *testing.T) {
		csr := certificateRequest(t, "agent", certificatesv1.KubeAPIServerClientKubeletSignerName, pkix.Name{CommonName: "system:node:n9", Organization: []string{"system:nodes"}},
			certificatesv1.UsageDigitalSignature, certificatesv1.UsageClientAuth)
		create(t, c, csr)
		eventually(t, func() string {
			if get(t, c, csr); len(csr.Status.Certificate) == 0 {
				return fmt.Sprintf("no certificate: %+v", csr.Status.Conditions)
			}
			return ""
		})
		if got := csr.Status.Conditions[0]; got.Reason != "AutoApproved" || got.Message != "Auto approving kubelet client certificate after SubjectAccessReview." {
			t.Errorf("condition %+v", got)
		}
		block, _ := pem.Decode(csr.Status.Certificate)
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := cert.Verify(x509.VerifyOptions{Roots: roots, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}); err != nil || cert.Subject.CommonName != "system:node:n9" {
			t.Errorf("certificate of %v: %v", cert.Subject, err)
		}
	})

	t.Run("a person's waits for approval", func(t *testing.T) {
		csr := certificateRequest(t, "jane", certificatesv1.KubeAPIServerClientSignerName, pkix.Name{CommonName: "jane"}, certificatesv1.UsageClientAuth)
		create(t, c, csr)
		approve(t, c, csr)
		eventually(t, func() string {
			if get(t, c, csr); len(csr.Status.Certificate) == 0 {
				return fmt.Sprintf("no certificate: %+v", csr.Status.Conditions)
			}
			return ""
		})
	})

	t.Run("one that the signer does not sign fails", func(t *testing.T) {
		csr := certificateRequest(t, "server", certificatesv1.KubeAPIServerClientSignerName, pkix.Name{CommonName: "jane"}, certificatesv1.UsageServerAuth)
		create(t, c, csr)
		approve(t, c, csr)
		eventually(t, func() string {
			get(t, c, csr)
			for _, condition := range csr.Status.Conditions {
				if condition.Type == certificatesv1.CertificateFailed && condition.Reason == "SignerValidationFailure" {
					return ""
				}
			}
			return fmt.Sprintf("conditions %+v", csr.Status.Conditions)
		})
	})

	t.Run("nodes are told how long to keep what they read", func(t *testing.T) {
		eventually(t, func() string {
			var nodes corev1.NodeList
			if err := c.List(t.Context(), &nodes); err != nil {
				t.Fatal(err)
			}
			for _, node := range nodes.Items {
				if node.Annotations["node.alpha.kubernetes.io/ttl"] != "0" {
					return fmt.Sprintf("annotations %v", node.Annotations)
				}
			}
			return ""
		})
	})
}

func TestExpressionsOfPoliciesAreChecked(t *testing.T) {
	c := start(t, "validatingadmissionpolicy-status-controller")
	policy := &admissionregistrationv1.ValidatingAdmissionPolicy{
		ObjectMeta: metav1.ObjectMeta{Name: "typo"},
		Spec: admissionregistrationv1.ValidatingAdmissionPolicySpec{
			MatchConstraints: &admissionregistrationv1.MatchResources{ResourceRules: []admissionregistrationv1.NamedRuleWithOperations{{
				RuleWithOperations: admissionregistrationv1.RuleWithOperations{
					Operations: []admissionregistrationv1.OperationType{admissionregistrationv1.Create},
					Rule:       admissionregistrationv1.Rule{APIGroups: []string{"apps"}, APIVersions: []string{"v1"}, Resources: []string{"deployments"}},
				},
			}}},
			Validations: []admissionregistrationv1.Validation{{Expression: "object.spec.replicas < 5"}, {Expression: "object.spec.replica < 5"}},
		},
	}
	create(t, c, policy)
	eventually(t, func() string {
		if get(t, c, policy); policy.Status.TypeChecking == nil || policy.Status.ObservedGeneration != policy.Generation {
			return fmt.Sprintf("status %+v", policy.Status)
		}
		return ""
	})
	warnings := policy.Status.TypeChecking.ExpressionWarnings
	if len(warnings) != 1 || warnings[0].FieldRef != "spec.validations[1].expression" || !strings.Contains(warnings[0].Warning, "undefined field 'replica'") {
		t.Errorf("warnings %+v", warnings)
	}
}

func TestAutoscalersWithoutMetrics(t *testing.T) {
	c := start(t, "horizontal-pod-autoscaler-controller", "deployment-controller", "replicaset-controller")
	web := deployment("web", 5)
	create(t, c, web)
	autoscaler := &autoscalingv2.HorizontalPodAutoscaler{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "web"},
		Spec: autoscalingv2.HorizontalPodAutoscalerSpec{
			ScaleTargetRef: autoscalingv2.CrossVersionObjectReference{APIVersion: "apps/v1", Kind: "Deployment", Name: "web"}, MaxReplicas: 3,
		},
	}
	create(t, c, autoscaler)
	hasEvent(t, c, "web", corev1.EventTypeNormal, "SuccessfulRescale", "New size: 3; reason: Current number of replicas above Spec.MaxReplicas")
	eventually(t, func() string {
		if get(t, c, web); *web.Spec.Replicas != 3 {
			return fmt.Sprintf("%d replicas", *web.Spec.Replicas)
		}
		return ""
	})
	change(t, c, autoscaler, func() { autoscaler.Spec.MaxReplicas = 4 })
	hasEvent(t, c, "web", corev1.EventTypeWarning, "FailedGetResourceMetric", "failed to get cpu utilization: unable to get metrics for resource cpu: unable to fetch metrics from resource metrics API: ")
	eventually(t, func() string {
		get(t, c, autoscaler)
		for _, condition := range autoscaler.Status.Conditions {
			if condition.Type == autoscalingv2.ScalingActive && condition.Status == corev1.ConditionFalse && condition.Reason == "FailedGetResourceMetric" {
				return ""
			}
		}
		return fmt.Sprintf("conditions %+v", autoscaler.Status.Conditions)
	})
	if get(t, c, web); *web.Spec.Replicas != 3 {
		t.Errorf("without metrics there are %d replicas", *web.Spec.Replicas)
	}
}

func TestBootstrapTokens(t *testing.T) {
	c := start(t, "bootstrap-signer-controller", "token-cleaner-controller")
	token := func(id, expiration string) *corev1.Secret {
		return &corev1.Secret{
			ObjectMeta: metav1.ObjectMeta{Namespace: "kube-system", Name: "bootstrap-token-" + id}, Type: corev1.SecretTypeBootstrapToken,
			StringData: map[string]string{"token-id": id, "token-secret": "0123456789abcdef", "usage-bootstrap-signing": "true", "expiration": expiration},
		}
	}
	expired := token("expird", "2020-01-01T00:00:00Z")
	valid := token("abcdef", "")
	for _, secret := range []*corev1.Secret{expired, valid} {
		eventually(t, func() string {
			if err := c.Create(t.Context(), secret); client.IgnoreAlreadyExists(err) != nil {
				return err.Error() // the namespace may not be there yet
			}
			return ""
		})
	}
	info := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "kube-public", Name: "cluster-info"}, Data: map[string]string{"kubeconfig": "content"}}
	eventually(t, func() string {
		if err := c.Create(t.Context(), info); client.IgnoreAlreadyExists(err) != nil {
			return err.Error()
		}
		return ""
	})
	eventually(t, func() string {
		get(t, c, info)
		if info.Data["jws-kubeconfig-abcdef"] == "" || len(info.Data) != 2 {
			return fmt.Sprintf("data %v", info.Data)
		}
		return ""
	})
	eventually(t, func() string {
		if exists(t, c, expired) {
			return "a token that has expired is still there"
		}
		return ""
	})
	if err := c.Delete(t.Context(), valid); err != nil {
		t.Fatal(err)
	}
	eventually(t, func() string {
		if get(t, c, info); len(info.Data) != 1 {
			return fmt.Sprintf("data %v", info.Data)
		}
		return ""
	})
}
