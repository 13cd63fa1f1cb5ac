package admission_test

import (
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	nodev1 "k8s.io/api/node/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/skiffcluster/skiff/cluster"
	"github.com/skiffcluster/skiff/cluster/clustertest"
)

// withAccount starts an API server and makes the account that pods need.
func withAccount(t *testing.T) client.Client {
	t.Helper()
	c := clustertest.APIServer(t).Client()
	create(t, c, &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: "default", Namespace: "default"}})
	return c
}

func pod(name string) *corev1.Pod {
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: "default"},
		Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "c", Image: "example.com/c:1"}}},
	}
}

func amounts(cpu string) corev1.ResourceList {
	return corev1.ResourceList{corev1.ResourceCPU: resource.MustParse(cpu)}
}

func TestLimitRangeSetsAndChecks(t *testing.T) {
	c := withAccount(t)
	create(t, c, &corev1.LimitRange{ObjectMeta: metav1.ObjectMeta{Name: "l", Namespace: "default"}, Spec: corev1.LimitRangeSpec{Limits: []corev1.LimitRangeItem{{
		Type: corev1.LimitTypeContainer, Default: amounts("1"), DefaultRequest: amounts("500m"), Max: amounts("2"), Min: amounts("100m"), MaxLimitRequestRatio: amounts("4"),
	}}}})
	eventually(t, "limits in force", func() error {
		p := pod("")
		p.GenerateName = "a-"
		if err := c.Create(t.Context(), p); err != nil {
			return err
		}
		r := p.Spec.Containers[0].Resources
		if r.Limits.Cpu().String() != "1" || r.Requests.Cpu().String() != "500m" {
			return wrong("no defaults")
		}
		if note := p.Annotations["kubernetes.io/limit-ranger"]; note != "LimitRanger plugin set: cpu request for container c; cpu limit for container c" {
			t.Errorf("annotation %q", note)
		}
		return nil
	})
	for _, tt := range []struct{ name, request, limit, want string }{
		{"more than the most", "1", "3", "maximum cpu usage per Container is 2, but limit is 3"},
		{"less than the least", "50m", "100m", "minimum cpu usage per Container is 100m, but request is 50m"},
		{"too far apart", "200m", "1", "cpu max limit to request ratio per Container is 4, but provided ratio is 5.000000"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := pod("b")
			p.Spec.Containers[0].Resources = corev1.ResourceRequirements{Requests: amounts(tt.request), Limits: amounts(tt.limit)}
			if err := c.Create(t.Context(), p); !strings.Contains(errText(err), `pods "b" is forbidden: `) || !strings.Contains(errText(err), tt.want) {
				t.Errorf("got %v, want %s", err, tt.want)
			}
		})
	}
}

func TestQuotaRefusesWhatDoesNotFit(t *testing.T) {
	c := withAccount(t)
	quota := &corev1.ResourceQuota{ObjectMeta: metav1.ObjectMeta{Name: "q", Namespace: "default"}, Spec: corev1.ResourceQuotaSpec{Hard: corev1.ResourceList{
		"requests.cpu": resource.MustParse("1"), "pods": resource.MustParse("2"), "services.nodeports": resource.MustParse("1"),
	}}}
	create(t, c, quota)
	// What the controller of quotas writes.
	quota.Status = corev1.ResourceQuotaStatus{Hard: quota.Spec.Hard, Used: corev1.ResourceList{
		"requests.cpu": resource.MustParse("0"), "pods": resource.MustParse("0"), "services.nodeports": resource.MustParse("0"),
	}}
	if err := c.Status().Update(t.Context(), quota); err != nil {
		t.Fatal(err)
	}
	with := func(name, cpu string) *corev1.Pod {
		p := pod(name)
		p.Spec.Containers[0].Resources.Requests = amounts(cpu)
		return p
	}
	eventually(t, "quota in force", func() error {
		if err := c.Create(t.Context(), pod("a"), client.DryRunAll); !strings.Contains(errText(err), "failed quota: q: must specify requests.cpu for: c") {
			return wrong("not refused: " + errText(err))
		}
		return nil
	})
	create(t, c, with("a", "600m"))
	want := `exceeded quota: q, requested: requests.cpu=600m, used: requests.cpu=600m, limited: requests.cpu=1`
	if err := c.Create(t.Context(), with("b", "600m")); !strings.Contains(errText(err), want) {
		t.Errorf("got %v, want %s", err, want)
	}
	create(t, c, with("b", "400m"))
	service := func(name string) *corev1.Service {
		return &corev1.Service{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: "default"}, Spec: corev1.ServiceSpec{
			Type: corev1.ServiceTypeNodePort, Ports: []corev1.ServicePort{{Port: 80}},
		}}
	}
	create(t, c, service("a"))
	if err := c.Create(t.Context(), service("b")); !strings.Contains(errText(err), "exceeded quota: q, requested: services.nodeports=1, used: services.nodeports=1, limited: services.nodeports=1") {
		t.Errorf("second service: %v", err)
	}
}

func TestPodSecurityFollowsTheNamespacesLabels(t *testing.T) {
	c := withAccount(t)
	ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "safe", Labels: map[string]string{"pod-security.kubernetes.io/enforce": "baseline"}}}
	create(t, c, ns)
	create(t, c, &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: "default", Namespace: "safe"}})
	root := pod("root")
	root.Namespace = "safe"
	root.Spec.Containers[0].SecurityContext = &corev1.SecurityContext{Privileged: ptr.To(true)}
	want := `pods "root" is forbidden: violates PodSecurity "baseline:latest": privileged (container "c" must not set securityContext.privileged=true)`
	if err := c.Create(t.Context(), root); errText(err) != want {
		t.Errorf("got %v, want %s", err, want)
	}
	root.Namespace, root.ResourceVersion = "default", ""
	create(t, c, root)
	plain := pod("plain")
	plain.Namespace = "safe"
	create(t, c, plain)
	ns.Labels["pod-security.kubernetes.io/enforce"] = "none"
	if err := c.Update(t.Context(), ns); !strings.Contains(errText(err), `must be one of privileged, baseline, restricted`) {
		t.Errorf("bad label: %v", err)
	}
}

func TestRuntimeClassGivesOverhead(t *testing.T) {
	c := withAccount(t)
	p := pod("a")
	p.Spec.RuntimeClassName = ptr.To("vm")
	if err := c.Create(t.Context(), p); !strings.Contains(errText(err), `pod rejected: RuntimeClass "vm" not found`) {
		t.Errorf("without the class: %v", err)
	}
	create(t, c, &nodev1.RuntimeClass{
		ObjectMeta: metav1.ObjectMeta{Name: "vm"}, Handler: "vm", Overhead: &nodev1.Overhead{PodFixed: amounts("250m")},
		Scheduling: &nodev1.Scheduling{NodeSelector: map[string]string{"vm": "yes"}},
	})
	create(t, c, p)
	if p.Spec.Overhead.Cpu().String() != "250m" || p.Spec.NodeSelector["vm"] != "yes" {
		t.Errorf("overhead %v, selector %v", p.Spec.Overhead, p.Spec.NodeSelector)
	}
}

func TestClaimsAndIngressesGetTheDefaultClass(t *testing.T) {
	c := clustertest.APIServer(t).Client()
	class := func(name string, isDefault string, grows bool) *storagev1.StorageClass {
		return &storagev1.StorageClass{
			ObjectMeta:  metav1.ObjectMeta{Name: name, Annotations: map[string]string{"storageclass.kubernetes.io/is-default-class": isDefault}},
			Provisioner: "example.com/disk", AllowVolumeExpansion: &grows,
		}
	}
	create(t, c, class("slow", "false", false))
	create(t, c, class("fast", "true", false))
	create(t, c, &networkingv1.IngressClass{
		ObjectMeta: metav1.ObjectMeta{Name: "front", Annotations: map[string]string{networkingv1.AnnotationIsDefaultIngressClass: "true"}},
		Spec:       networkingv1.IngressClassSpec{Controller: "example.com/ingress"},
	})
	eventually(t, "default class", func() error {
		claim := &corev1.PersistentVolumeClaim{ObjectMeta: metav1.ObjectMeta{GenerateName: "a-", Namespace: "default"}, Spec: corev1.PersistentVolumeClaimSpec{
			AccessModes: []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce},
			Resources:   corev1.VolumeResourceRequirements{Requests: corev1.ResourceList{corev1.ResourceStorage: resource.MustParse("1Gi")}},
		}}
		if err := c.Create(t.Context(), claim); err != nil {
			return err
		}
		if ptr.Deref(claim.Spec.StorageClassName, "") != "fast" {
			return wrong("no class")
		}
		if len(claim.Finalizers) != 1 || claim.Finalizers[0] != "kubernetes.io/pvc-protection" {
			t.Errorf("finalizers %v", claim.Finalizers)
		}
		return nil
	})
	eventually(t, "default ingress class", func() error {
		i := &networkingv1.Ingress{ObjectMeta: metav1.ObjectMeta{GenerateName: "a-", Namespace: "default"}, Spec: networkingv1.IngressSpec{
			DefaultBackend: &networkingv1.IngressBackend{Service: &networkingv1.IngressServiceBackend{Name: "web", Port: networkingv1.ServiceBackendPort{Number: 80}}},
		}}
		if err := c.Create(t.Context(), i); err != nil {
			return err
		}
		if ptr.Deref(i.Spec.IngressClassName, "") != "front" {
			return wrong("no class")
		}
		return nil
	})
}

func TestPluginsCanBeSwitched(t *testing.T) {
	cfg := cluster.Config{Without: []cluster.Room{cluster.Controllers, cluster.Scheduler, cluster.Nodes}}
	cfg.APIServer.DisableAdmissionPlugins = []string{"RuntimeClass", "ServiceAccount", "StorageObjectInUseProtection"}
	cfg.APIServer.EnableAdmissionPlugins = []string{"LimitRanger"} // it is on anyhow
	c := clustertest.With(t, cfg).Client()
	p := pod("a")
	p.Spec.RuntimeClassName = ptr.To("missing")
	create(t, c, p)
	claim := &corev1.PersistentVolumeClaim{ObjectMeta: metav1.ObjectMeta{Name: "a", Namespace: "default"}, Spec: corev1.PersistentVolumeClaimSpec{
		AccessModes: []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce},
		Resources:   corev1.VolumeResourceRequirements{Requests: corev1.ResourceList{corev1.ResourceStorage: resource.MustParse("1Gi")}},
	}}
	create(t, c, claim)
	if len(claim.Finalizers) > 0 {
		t.Errorf("finalizers %v of a plugin that is off", claim.Finalizers)
	}
}
