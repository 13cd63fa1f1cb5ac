package apiserver_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"strings"
	"testing"

	certificatesv1 "k8s.io/api/certificates/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/skiffcluster/skiff/cluster/clustertest"
)

// certified is a pod on a node that mounts a certificate of example.com/a.
func certified(name, node string) *corev1.Pod {
	p := pod(name)
	p.Spec.NodeName = node
	p.Spec.Volumes = []corev1.Volume{{Name: "tls", VolumeSource: corev1.VolumeSource{Projected: &corev1.ProjectedVolumeSource{
		Sources: []corev1.VolumeProjection{{PodCertificate: &corev1.PodCertificateProjection{SignerName: "example.com/a", KeyType: "ECDSAP256", CredentialBundlePath: "b.pem"}}},
	}}}}
	return p
}

func TestNodesAskForCertificatesOfTheirPods(t *testing.T) {
	t.Parallel()
	c := clustertest.APIServer(t)
	k, ctx := clientset(t, c.RESTConfig()), t.Context()
	account(t, k, "default")
	sa, err := k.CoreV1().ServiceAccounts("default").Get(ctx, "default", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	mine := clientset(t, c.As("system:node:mine", "system:nodes", "system:authenticated"))
	nodes, pods := map[string]types.UID{}, map[string]types.UID{}
	for _, n := range []string{"mine", "other"} {
		node, err := k.CoreV1().Nodes().Create(ctx, &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: n}}, metav1.CreateOptions{})
		if err != nil {
			t.Fatal(err)
		}
		nodes[n] = node.UID
		p, err := k.CoreV1().Pods("default").Create(ctx, certified("on-"+n, n), metav1.CreateOptions{})
		if err != nil {
			t.Fatal(err)
		}
		pods[n] = p.UID
	}
	proof := proofOfPossession(t)
	ask := func(change func(*certificatesv1.PodCertificateRequestSpec)) (*certificatesv1.PodCertificateRequest, error) {
		r := &certificatesv1.PodCertificateRequest{
			ObjectMeta: metav1.ObjectMeta{GenerateName: "req-"},
			Spec: certificatesv1.PodCertificateRequestSpec{
				SignerName: "example.com/a", PodName: "on-mine", PodUID: pods["mine"], NodeName: "mine", NodeUID: nodes["mine"],
				ServiceAccountName: "default", ServiceAccountUID: sa.UID, StubPKCS10Request: proof,
			},
		}
		change(&r.Spec)
		return mine.CertificatesV1().PodCertificateRequests("default").Create(ctx, r, metav1.CreateOptions{})
	}
	for _, q := range []struct {
		name   string
		change func(*certificatesv1.PodCertificateRequestSpec)
		want   string
	}{
		{"for its pod", func(*certificatesv1.PodCertificateRequestSpec) {}, ""},
		{
			"as another node", func(s *certificatesv1.PodCertificateRequestSpec) { s.NodeName, s.NodeUID = "other", nodes["other"] },
			`PodCertificateRequest.Spec.NodeName="other", which is not the requesting node "mine"`,
		},
		{
			"as a node that was", func(s *certificatesv1.PodCertificateRequestSpec) { s.NodeUID = "old" },
			`PodCertificateRequest for pod "default/on-mine" names node UID "old", inconsistent with the running node ("` + string(nodes["mine"]) + `")`,
		},
		{
			"for another's pod", func(s *certificatesv1.PodCertificateRequestSpec) { s.PodName, s.PodUID = "on-other", pods["other"] },
			`pod "default/on-other" is not running on node "mine" named in the PodCertificateRequest`,
		},
		{
			"for a pod that was", func(s *certificatesv1.PodCertificateRequestSpec) { s.PodUID = "old" },
			`PodCertificateRequest for pod "default/on-mine" contains pod UID ("old") which differs from running pod "` + string(pods["mine"]) + `"`,
		},
		{
			"for a pod that is not", func(s *certificatesv1.PodCertificateRequestSpec) { s.PodName = "none" },
			`while retrieving pod "default/none" named in the PodCertificateRequest: pods "none" not found`,
		},
		{
			"as another account", func(s *certificatesv1.PodCertificateRequestSpec) { s.ServiceAccountName = "root" },
			`PodCertificateRequest for pod "default/on-mine" contains serviceAccountName ("root") that differs from running pod ("default")`,
		},
		{
			"as an account that was", func(s *certificatesv1.PodCertificateRequestSpec) { s.ServiceAccountUID = "old" },
			`PodCertificateRequest for pod "default/on-mine" names service account UID "old", which differs from the running service account ("` + string(sa.UID) + `")`,
		},
		{
			"a signer that the pod does not name", func(s *certificatesv1.PodCertificateRequestSpec) { s.SignerName = "example.com/b" },
			`pod "default/on-mine" does not mount a podCertificate projected volume for signer "example.com/b"`,
		},
	} {
		t.Run(q.name, func(t *testing.T) {
			_, err := ask(q.change)
			if q.want == "" && err != nil || q.want != "" && (err == nil || !strings.HasSuffix(err.Error(), q.want)) {
				t.Errorf("got %v, want %s", err, q.want)
			}
		})
	}

	r, err := ask(func(*certificatesv1.PodCertificateRequestSpec) {})
	if err != nil {
		t.Fatal(err)
	}
	requests := mine.CertificatesV1().PodCertificateRequests("default")
	if _, err := requests.Get(ctx, r.Name, metav1.GetOptions{}); err != nil {
		t.Errorf("its own request: %v", err)
	}
	if list, err := requests.List(ctx, metav1.ListOptions{FieldSelector: "spec.nodeName=mine,metadata.name=" + r.Name}); err != nil || len(list.Items) != 1 {
		t.Errorf("list of its own: %v, %v", list, err)
	}
	if _, err := requests.List(ctx, metav1.ListOptions{}); !apierrors.IsForbidden(err) {
		t.Errorf("list of all: %v", err)
	}
	if _, err := requests.UpdateStatus(ctx, r, metav1.UpdateOptions{}); !apierrors.IsForbidden(err) {
		t.Errorf("its own answer: %v", err)
	}
}

func TestPodCertificatesAreSignedByThoseWhoMay(t *testing.T) {
	t.Parallel()
	c := clustertest.APIServer(t)
	k, ctx := clientset(t, c.RESTConfig()), t.Context()
	allow := func(name string, rules ...rbacv1.PolicyRule) {
		t.Helper()
		if _, err := k.RbacV1().ClusterRoles().Create(ctx, &rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: name}, Rules: rules}, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
		if _, err := k.RbacV1().ClusterRoleBindings().Create(ctx, &rbacv1.ClusterRoleBinding{
			ObjectMeta: metav1.ObjectMeta{Name: name}, RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: name},
			Subjects: []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: "User", Name: name}},
		}, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	status := rbacv1.PolicyRule{APIGroups: []string{"certificates.k8s.io"}, Resources: []string{"podcertificaterequests/status"}, Verbs: []string{"update"}}
	allow("writer", status)
	allow("signer", status, rbacv1.PolicyRule{APIGroups: []string{"certificates.k8s.io"}, Resources: []string{"signers"}, ResourceNames: []string{"example.com/*"}, Verbs: []string{"sign"}})

	proof := proofOfPossession(t)
	r, err := k.CertificatesV1().PodCertificateRequests("default").Create(ctx, &certificatesv1.PodCertificateRequest{
		ObjectMeta: metav1.ObjectMeta{Name: "req"},
		Spec: certificatesv1.PodCertificateRequestSpec{
			SignerName: "example.com/a", PodName: "p", PodUID: "p", NodeName: "n", NodeUID: "n", ServiceAccountName: "s", ServiceAccountUID: "s", StubPKCS10Request: proof,
		},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	r.Status.Conditions = []metav1.Condition{{
		Type: certificatesv1.PodCertificateRequestConditionTypeDenied, Status: metav1.ConditionTrue, Reason: "No", LastTransitionTime: metav1.Now(),
	}}
	deny := func(user string) error {
		_, err := clientset(t, c.As(user, "system:authenticated")).CertificatesV1().PodCertificateRequests("default").UpdateStatus(ctx, r, metav1.UpdateOptions{})
		return err
	}
	const want = `PodCertificateRequest.certificates.k8s.io "req" is invalid: spec.signerName: Forbidden: User "writer" is not permitted to "sign" for signer "example.com/a"`
	var refused error
	eventually(t, func() error { // until the right to write is known
		if refused = deny("writer"); apierrors.IsForbidden(refused) {
			return refused
		}
		return nil
	})
	if refused == nil || refused.Error() != want {
		t.Errorf("who may not sign: %v", refused)
	}
	eventually(t, func() error { return deny("signer") })
}

// proofOfPossession is an empty request signed with a key of its own.
func proofOfPossession(t *testing.T) []byte {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	proof, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{}, key)
	if err != nil {
		t.Fatal(err)
	}
	return proof
}
