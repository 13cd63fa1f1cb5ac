package admission_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	certificatesv1 "k8s.io/api/certificates/v1"
	corev1 "k8s.io/api/core/v1"
	imagepolicyv1alpha1 "k8s.io/api/imagepolicy/v1alpha1"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	apiadmission "k8s.io/apiserver/pkg/admission"
	"k8s.io/client-go/util/cert"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/skiffcluster/skiff/apiserver/admission"
	"github.com/skiffcluster/skiff/cluster"
	"github.com/skiffcluster/skiff/cluster/clustertest"
)

// plugged starts an API server with further admission plugins, and with a file
// that configures them.
func plugged(t *testing.T, file string, plugins ...string) *clustertest.Cluster {
	t.Helper()
	cfg := cluster.Config{Without: []cluster.Room{cluster.Controllers, cluster.Scheduler, cluster.Nodes}}
	cfg.APIServer.EnableAdmissionPlugins, cfg.APIServer.DisableAdmissionPlugins = plugins, []string{"NamespaceLifecycle", "ServiceAccount"}
	if file != "" {
		cfg.APIServer.AdmissionConfigFile = write(t, "admission.yaml", "apiVersion: apiserver.config.k8s.io/v1\nkind: AdmissionConfiguration\nplugins:\n"+file)
	}
	return clustertest.With(t, cfg)
}

func write(t *testing.T, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// says fails unless err has the text, or is nil when there is none.
func says(t *testing.T, what string, err error, want string) {
	t.Helper()
	if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
		t.Errorf("%s: %v, want %q", what, err, want)
	}
}

// user is a client of somebody with some rights, which are in force soon.
func user(t *testing.T, c *clustertest.Cluster, name string, rules ...rbacv1.PolicyRule) client.Client {
	t.Helper()
	create(t, c.Client(), &rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: name}, Rules: rules})
	create(t, c.Client(), &rbacv1.ClusterRoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: name}, RoleRef: rbacv1.RoleRef{Kind: "ClusterRole", Name: name}, Subjects: []rbacv1.Subject{{Kind: "User", Name: name}},
	})
	k, err := client.New(c.As(name), client.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// authority is the certificate of a CA, PEM.
func authority(t *testing.T) string {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	ca, err := cert.NewSelfSignedCACert(cert.Config{CommonName: "test"}, key)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: ca.Raw}))
}

func changed(p *corev1.Pod, f func(*corev1.Pod)) *corev1.Pod {
	f(p)
	return p
}

func TestLimitedResourcesNeedAQuota(t *testing.T) {
	t.Parallel()
	c := plugged(t, `
- name: ResourceQuota
  configuration:
    apiVersion: apiserver.config.k8s.io/v1
    kind: ResourceQuotaConfiguration
    limitedResources: [{resource: pods, matchContains: [pods]}]
`).Client()
	says(t, "a pod without a quota", c.Create(t.Context(), pod("a")), `pods "a" is forbidden: insufficient quota to consume: count/pods,pods`)
	create(t, c, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "a"}})
}

func TestPodsWithOptionalPlugins(t *testing.T) {
	t.Parallel()
	c := plugged(t, `
- name: PodNodeSelector
  configuration:
    podNodeSelectorPluginConfig:
      clusterDefaultNodeSelector: env=dev
      default: env=dev,disk=fast
- name: PodTolerationRestriction
  configuration:
    apiVersion: podtolerationrestriction.admission.k8s.io/v1alpha1
    kind: Configuration
    default: [{key: team, operator: Exists, effect: NoSchedule}]
`, "AlwaysPullImages", "LimitPodHardAntiAffinityTopology", "ExtendedResourceToleration", "PodNodeSelector", "PodTolerationRestriction", "NamespaceAutoProvision", "NamespaceExists", "AlwaysAdmit", "PodGroupProtection").Client()

	p := changed(pod("a"), func(p *corev1.Pod) {
		p.Spec.Containers[0].ImagePullPolicy = corev1.PullNever
		p.Spec.Containers[0].Resources.Requests = corev1.ResourceList{"example.com/gpu": resource.MustParse("1"), corev1.ResourceCPU: resource.MustParse("1")}
		p.Spec.Containers[0].Resources.Limits = corev1.ResourceList{"example.com/gpu": resource.MustParse("1")}
		p.Spec.NodeSelector = map[string]string{"disk": "fast"}
	})
	create(t, c, p)
	if got := p.Spec.Containers[0].ImagePullPolicy; got != corev1.PullAlways {
		t.Errorf("pull policy %s", got)
	}
	if got := fmt.Sprint(p.Spec.NodeSelector); got != "map[disk:fast env:dev]" {
		t.Errorf("node selector %s", got)
	}
	var tolerated []string
	for _, x := range p.Spec.Tolerations {
		tolerated = append(tolerated, x.Key)
	}
	if got := strings.Join(tolerated, " "); got != "node.kubernetes.io/not-ready node.kubernetes.io/unreachable team node.kubernetes.io/memory-pressure example.com/gpu" {
		t.Errorf("tolerations %s", got)
	}
	apart := func(key string) *corev1.Affinity {
		return &corev1.Affinity{PodAntiAffinity: &corev1.PodAntiAffinity{RequiredDuringSchedulingIgnoredDuringExecution: []corev1.PodAffinityTerm{{
			TopologyKey: key, LabelSelector: &metav1.LabelSelector{MatchLabels: map[string]string{"a": "b"}},
		}}}}
	}
	says(t, "apart in a zone", c.Create(t.Context(), changed(pod("b"), func(p *corev1.Pod) { p.Spec.Affinity = apart("zone") })),
		`pods "b" is forbidden: affinity.PodAntiAffinity.RequiredDuringScheduling has TopologyKey zone but only key kubernetes.io/hostname is allowed`)
	says(t, "apart on nodes", c.Create(t.Context(), changed(pod("b"), func(p *corev1.Pod) { p.Spec.Affinity = apart("kubernetes.io/hostname") })), "")
	says(t, "another selector", c.Create(t.Context(), changed(pod("c"), func(p *corev1.Pod) { p.Spec.NodeSelector = map[string]string{"env": "prod"} })),
		`pods "c" is forbidden: pod node label selector conflicts with its namespace node label selector`)
	says(t, "a selector that is not allowed", c.Create(t.Context(), changed(pod("c"), func(p *corev1.Pod) { p.Spec.NodeSelector = map[string]string{"disk": "slow"} })),
		`pods "c" is forbidden: pod node label selector labels conflict with its namespace whitelist`)

	create(t, c, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "strict", Annotations: map[string]string{
		"scheduler.alpha.kubernetes.io/node-selector":        "zone=a",
		"scheduler.alpha.kubernetes.io/defaultTolerations":   `[{"key": "x", "operator": "Exists"}]`,
		"scheduler.alpha.kubernetes.io/tolerationsWhitelist": `[{"key": "x", "operator": "Exists"}, {"operator": "Exists", "effect": "NoExecute"}]`,
	}}})
	p = changed(pod("a"), func(p *corev1.Pod) { p.Namespace = "strict" })
	create(t, c, p)
	if got := fmt.Sprint(p.Spec.NodeSelector); got != "map[zone:a]" {
		t.Errorf("node selector of the namespace: %s", got)
	}
	says(t, "a toleration that is not allowed", c.Create(t.Context(), changed(pod("b"), func(p *corev1.Pod) {
		p.Namespace, p.Spec.Tolerations = "strict", []corev1.Toleration{{Key: "y", Operator: corev1.TolerationOpExists, Effect: corev1.TaintEffectNoSchedule}}
	})), "pod tolerations (possibly merged with namespace default tolerations) conflict with its namespace whitelist")

	m := configMap("a")
	m.Namespace = "soon"
	create(t, c, m)
	says(t, "the namespace that was made", c.Get(t.Context(), client.ObjectKey{Name: "soon"}, &corev1.Namespace{}), "")
	m = configMap("a")
	m.Namespace = "never"
	says(t, "a namespace that is not there", c.Create(t.Context(), m, client.DryRunAll), `namespaces "never" not found`)
}

func TestPodsGetTheZoneOfTheirNode(t *testing.T) {
	t.Parallel()
	c := plugged(t, "")
	k := c.Client()
	node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n", Labels: map[string]string{"topology.kubernetes.io/zone": "a", "topology.kubernetes.io/region": "r", "other": "x"}}}
	create(t, k, node)
	node.Status.Allocatable = corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("1"), corev1.ResourceMemory: resource.MustParse("1Gi")}
	if err := k.Status().Update(t.Context(), node); err != nil {
		t.Fatal(err)
	}
	p := pod("a")
	p.Spec.Containers[0].Resources.Requests = corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("500m")}
	p.Labels = map[string]string{"topology.kubernetes.io/zone": "b", "app": "web"}
	create(t, k, p)
	if err := k.SubResource("binding").Create(t.Context(), p, &corev1.Binding{Target: corev1.ObjectReference{Kind: "Node", Name: "n"}}); err != nil {
		t.Fatal(err)
	}
	if err := k.Get(t.Context(), client.ObjectKeyFromObject(p), p); err != nil {
		t.Fatal(err)
	}
	if got := fmt.Sprint(p.Labels); got != "map[app:web topology.kubernetes.io/region:r topology.kubernetes.io/zone:a]" {
		t.Errorf("labels %s", got)
	}
	p.Spec.Containers[0].Resources.Requests = corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("2")}
	err := k.SubResource("resize").Update(t.Context(), p)
	says(t, "more than the node has", err, `pods "a" is forbidden: node didn't have enough allocatable resources: cpu, requested: 2000, allocatable: 1000`)
}

func TestServicesAndOwnersWithOptionalPlugins(t *testing.T) {
	t.Parallel()
	c := plugged(t, "", "DenyServiceExternalIPs", "OwnerReferencesPermissionEnforcement")
	s := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Name: "s", Namespace: "default"}, Spec: corev1.ServiceSpec{Ports: []corev1.ServicePort{{Port: 80}}, ExternalIPs: []string{"1.2.3.4"}}}
	says(t, "an address of its own choice", c.Client().Create(t.Context(), s), `services "s" is forbidden: Use of external IPs is denied by admission control`)
	s.Spec.ExternalIPs = nil
	says(t, "no such address", c.Client().Create(t.Context(), s), "")

	owner := configMap("owner")
	create(t, c.Client(), owner)
	owned := func(name string, block bool) *corev1.ConfigMap {
		m := configMap(name)
		m.OwnerReferences = []metav1.OwnerReference{{APIVersion: "v1", Kind: "ConfigMap", Name: owner.Name, UID: owner.UID, BlockOwnerDeletion: ptr.To(block)}}
		return m
	}
	ann := user(t, c, "ann", rbacv1.PolicyRule{APIGroups: []string{""}, Resources: []string{"configmaps"}, Verbs: []string{"create", "update", "get"}})
	eventually(t, "ann may create", func() error {
		m := owned("", false)
		m.GenerateName = "a-"
		return ann.Create(t.Context(), m)
	})
	says(t, "an owner that is held up", ann.Create(t.Context(), owned("b", true)),
		`configmaps "b" is forbidden: cannot set blockOwnerDeletion if an ownerReference refers to a resource you can't set finalizers on: `)
	m := configMap("c")
	create(t, ann, m)
	m.OwnerReferences = owned("", false).OwnerReferences
	says(t, "an owner of what one can't delete", ann.Update(t.Context(), m), `configmaps "c" is forbidden: cannot set an ownerRef on a resource you can't delete: `)
	m = owned("d", true)
	m.OwnerReferences[0].Kind = "Nothing"
	says(t, "a kind that there is not", ann.Create(t.Context(), m), `cannot set blockOwnerDeletion in this case because cannot find RESTMapping for APIVersion v1 Kind Nothing: `)
	says(t, "by the administrator", c.Client().Create(t.Context(), owned("e", true)), "")

	bob := user(t, c, "bob", rbacv1.PolicyRule{APIGroups: []string{"certificates.k8s.io"}, Resources: []string{"clustertrustbundles"}, Verbs: []string{"create"}})
	bundle := &certificatesv1.ClusterTrustBundle{ObjectMeta: metav1.ObjectMeta{Name: "example.com:x:1"}, Spec: certificatesv1.ClusterTrustBundleSpec{SignerName: "example.com/x", TrustBundle: authority(t)}}
	eventually(t, "bob's rights", func() error {
		err := bob.Create(t.Context(), bundle.DeepCopy())
		if err == nil || !strings.Contains(err.Error(), `clustertrustbundles.certificates.k8s.io "example.com:x:1" is forbidden: user not permitted to attest for signerName "example.com/x"`) {
			return wrong(fmt.Sprint(err))
		}
		return nil
	})
}

func TestEventRateLimit(t *testing.T) {
	t.Parallel()
	c := plugged(t, `
- name: EventRateLimit
  configuration:
    apiVersion: eventratelimit.admission.k8s.io/v1alpha1
    kind: Configuration
    limits:
    - {type: Server, qps: 1000, burst: 1000}
    - {type: SourceAndObject, qps: 1, burst: 2}
`, "EventRateLimit").Client()
	event := func(i int, about string) *corev1.Event {
		return &corev1.Event{
			ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprintf("%s-%d", about, i), Namespace: "default"}, Reason: "R", Message: "m", Type: "Normal",
			InvolvedObject: corev1.ObjectReference{Kind: "Pod", Namespace: "default", Name: about},
		}
	}
	// More than one in a second are too many, sooner or later.
	var err error
	for i := 0; err == nil && i < 1000; i++ {
		err = c.Create(t.Context(), event(i, "a"))
	}
	says(t, "too many", err, "limit reached on type SourceAndObject for key Poddefaulta")
	says(t, "of another", c.Create(t.Context(), event(0, "b")), "")
}

func TestImagePolicyWebhook(t *testing.T) {
	t.Parallel()
	asked := make(chan imagepolicyv1alpha1.ImageReviewSpec, 100)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var review imagepolicyv1alpha1.ImageReview
		if err := json.NewDecoder(r.Body).Decode(&review); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		asked <- review.Spec
		review.Status.Allowed = !strings.Contains(review.Spec.Containers[0].Image, "bad")
		if !review.Status.Allowed {
			review.Status.Reason = "no"
		}
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(review)
	}))
	t.Cleanup(server.Close)
	kubeconfig := write(t, "kubeconfig", fmt.Sprintf(`{apiVersion: v1, kind: Config, current-context: c, clusters: [{name: c, cluster: {server: %q}}], users: [{name: u}], contexts: [{name: c, context: {cluster: c, user: u}}]}`, server.URL))
	c := plugged(t, `
- name: ImagePolicyWebhook
  configuration: {imagePolicy: {kubeConfigFile: `+kubeconfig+`, allowTTL: 60, denyTTL: 60, retryBackoff: 1, defaultAllow: false}}
`, "ImagePolicyWebhook").Client()
	good := changed(pod("good"), func(p *corev1.Pod) {
		p.Annotations = map[string]string{"ticket.image-policy.k8s.io/break-glass": "7", "other": "x"}
	})
	says(t, "a good image", c.Create(t.Context(), good), "")
	spec := <-asked
	if spec.Namespace != "default" || fmt.Sprint(spec.Annotations) != "map[ticket.image-policy.k8s.io/break-glass:7]" || spec.Containers[0].Image != good.Spec.Containers[0].Image {
		t.Errorf("asked for %+v", spec)
	}
	bad := func() *corev1.Pod {
		return changed(pod("bad"), func(p *corev1.Pod) { p.Spec.Containers[0].Image = "bad:1" })
	}
	const refusal = `pods "bad" is forbidden: image policy webhook backend denied one or more images: no`
	says(t, "a bad image", c.Create(t.Context(), bad()), refusal)
	<-asked
	says(t, "the same again", c.Create(t.Context(), bad()), refusal)
	if len(asked) > 0 {
		t.Error("the server was asked again")
	}
	server.Close()
	says(t, "a server that is gone", c.Create(t.Context(), changed(pod("other"), func(p *corev1.Pod) { p.Spec.Containers[0].Image = "other:1" })), `pods "other" is forbidden: `)
}

func TestPodSecurityIsConfigured(t *testing.T) {
	t.Parallel()
	c := plugged(t, `
- name: PodSecurity
  configuration:
    apiVersion: pod-security.admission.config.k8s.io/v1
    kind: PodSecurityConfiguration
    defaults: {enforce: baseline}
`).Client()
	says(t, "a privileged pod", c.Create(t.Context(), changed(pod("a"), func(p *corev1.Pod) {
		p.Spec.Containers[0].SecurityContext = &corev1.SecurityContext{Privileged: ptr.To(true)}
	})), `violates PodSecurity "baseline:latest": privileged (container "c" must not set securityContext.privileged=true)`)
}

func TestAlwaysDeny(t *testing.T) {
	t.Parallel()
	chain, err := admission.New(admission.Config{Enable: []string{"AlwaysDeny"}, Disable: admission.Defaults()})
	if err != nil {
		t.Fatal(err)
	}
	err = chain.(apiadmission.ValidationInterface).Validate(t.Context(), apiadmission.NewAttributesRecord(configMap("a"), nil, corev1.SchemeGroupVersion.WithKind("ConfigMap"),
		"default", "a", corev1.SchemeGroupVersion.WithResource("configmaps"), "", apiadmission.Create, nil, false, nil), nil)
	says(t, "anything", err, `configmaps "a" is forbidden: admission control is denying all modifications`)
}

func TestWhatIsWrongWithPluginsIsSaid(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		enable, disable []string
		file, want      string
	}{
		"an unknown plugin":           {enable: []string{"SecurityContextDeny"}, want: `enable-admission-plugins plugin "SecurityContextDeny" is unknown`},
		"an unknown plugin, off":      {disable: []string{"Nothing"}, want: `disable-admission-plugins plugin "Nothing" is unknown`},
		"a plugin that is on and off": {enable: []string{"Priority"}, disable: []string{"Priority"}, want: `[Priority] in enable-admission-plugins and disable-admission-plugins overlapped`},
		"a file that is not there":    {file: "/does/not/exist", want: `unable to read admission control configuration from "/does/not/exist"`},
		"a file of something else":    {file: write(t, "a", "apiVersion: v1\nkind: Pod"), want: `no kind "Pod" is registered for version "v1"`},
		"a file with another field":   {file: write(t, "a", "apiVersion: apiserver.config.k8s.io/v1\nkind: AdmissionConfiguration\nplugin: []"), want: `unknown field "plugin"`},
		"a path that is not there":    {file: write(t, "a", "apiVersion: apiserver.config.k8s.io/v1\nkind: AdmissionConfiguration\nplugins: [{name: PodSecurity, path: gone.yaml}]"), want: `configuration of admission plugin PodSecurity: open `},
		"limits without a limit": {
			enable: []string{"EventRateLimit"}, want: `admission plugin EventRateLimit: limits: Invalid value: null: must not be empty`,
		},
		"a limit of another kind": {
			enable: []string{"EventRateLimit"}, want: `[limits[0].type: Unsupported value: "Pod": supported values: "Namespace", "Server", "SourceAndObject", "User", limits[0].burst: Invalid value: 0: must be positive]`,
			file: write(t, "a", "apiVersion: apiserver.config.k8s.io/v1\nkind: AdmissionConfiguration\nplugins: [{name: EventRateLimit, configuration: {apiVersion: eventratelimit.admission.k8s.io/v1alpha1, kind: Configuration, limits: [{type: Pod, qps: 1}]}}]"),
		},
		"an image policy without a server": {enable: []string{"ImagePolicyWebhook"}, want: "admission plugin ImagePolicyWebhook: no config specified"},
		"a time that is too long": {
			enable: []string{"ImagePolicyWebhook"}, want: "admission plugin ImagePolicyWebhook: valid value is between 1s and 30m0s, got 2h46m40s",
			file: write(t, "a", "apiVersion: apiserver.config.k8s.io/v1\nkind: AdmissionConfiguration\nplugins: [{name: ImagePolicyWebhook, configuration: {imagePolicy: {kubeConfigFile: x, allowTTL: 10000}}}]"),
		},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := admission.New(admission.Config{Enable: tt.enable, Disable: append(tt.disable, admission.Defaults()...), File: tt.file})
			if len(tt.enable) > 0 && len(tt.disable) > 0 {
				_, err = admission.New(admission.Config{Enable: tt.enable, Disable: tt.disable})
			}
			says(t, "start", err, tt.want)
		})
	}
}
