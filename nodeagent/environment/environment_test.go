package environment_test

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/skiffcluster/skiff/nodeagent/environment"
)

// objects are ConfigMaps and Secrets by "kind namespace/name".
type objects map[string]metav1.Object

func (o objects) ConfigMap(_ context.Context, namespace, name string) (*corev1.ConfigMap, error) {
	if m, ok := o["configmap "+namespace+"/"+name].(*corev1.ConfigMap); ok {
		return m, nil
	}
	return nil, apierrors.NewNotFound(corev1.Resource("configmap"), name)
}

func (o objects) Secret(_ context.Context, namespace, name string) (*corev1.Secret, error) {
	if s, ok := o["secret "+namespace+"/"+name].(*corev1.Secret); ok {
		return s, nil
	}
	return nil, apierrors.NewNotFound(corev1.Resource("secret"), name)
}

func ptr[T any](v T) *T { return &v }

func service(namespace, name, ip string, ports ...corev1.ServicePort) *corev1.Service {
	return &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name},
		Spec:       corev1.ServiceSpec{ClusterIP: ip, Ports: ports},
	}
}

func TestVariables(t *testing.T) {
	store := objects{
		"configmap shop/settings": &corev1.ConfigMap{Data: map[string]string{"color": "red", "size.max": "9"}},
		"secret shop/keys":        &corev1.Secret{Data: map[string][]byte{"token": []byte("t0p")}},
	}
	files := t.TempDir()
	if err := os.WriteFile(filepath.Join(files, "app.env"), []byte("# comment\n\nA='one'\n  B='two\nlines' # tail\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("/etc/hostname", filepath.Join(files, "out.env")); err != nil {
		t.Fatal(err)
	}
	nginx := service("shop", "my-web", "10.0.0.7",
		corev1.ServicePort{Name: "http", Port: 80, Protocol: corev1.ProtocolTCP},
		corev1.ServicePort{Name: "d-ns", Port: 53, Protocol: corev1.ProtocolUDP})
	api := service("default", "kubernetes", "10.0.0.1", corev1.ServicePort{Name: "https", Port: 443, Protocol: corev1.ProtocolTCP})

	from := func(s corev1.EnvVarSource) []corev1.EnvVar {
		return []corev1.EnvVar{{Name: "X", ValueFrom: &s}}
	}
	configMapKey := func(name, key string, optional bool) []corev1.EnvVar {
		return from(corev1.EnvVarSource{ConfigMapKeyRef: &corev1.ConfigMapKeySelector{
			LocalObjectReference: corev1.LocalObjectReference{Name: name}, Key: key, Optional: &optional,
		}})
	}
	secretKey := func(name, key string) []corev1.EnvVar {
		return from(corev1.EnvVarSource{SecretKeyRef: &corev1.SecretKeySelector{
			LocalObjectReference: corev1.LocalObjectReference{Name: name}, Key: key,
		}})
	}
	fileKey := func(path, key string, optional bool) []corev1.EnvVar {
		return from(corev1.EnvVarSource{FileKeyRef: &corev1.FileKeySelector{VolumeName: "data", Path: path, Key: key, Optional: &optional}})
	}
	tests := []struct {
		name     string
		env      []corev1.EnvVar
		envFrom  []corev1.EnvFromSource
		services []*corev1.Service
		noLinks  bool
		want     []string
		warning  string
		err      string
	}{
		{
			name: "values refer to what stands before them and to nothing after",
			env: []corev1.EnvVar{
				{Name: "A", Value: "1"}, {Name: "B", Value: "$(A)-$(C)"}, {Name: "C", Value: "3"}, {Name: "D", Value: "$$(A) $x $"},
			},
			want: []string{"A=1", "B=1-$(C)", "C=3", "D=$(A) $x $"},
		},
		{
			name: "env replaces envFrom, and a later envFrom an earlier one",
			env:  []corev1.EnvVar{{Name: "color", Value: "green"}},
			envFrom: []corev1.EnvFromSource{
				{ConfigMapRef: &corev1.ConfigMapEnvSource{LocalObjectReference: corev1.LocalObjectReference{Name: "settings"}}},
				{Prefix: "K_", SecretRef: &corev1.SecretEnvSource{LocalObjectReference: corev1.LocalObjectReference{Name: "keys"}}},
			},
			want: []string{"K_token=t0p", "color=green", "size.max=9"},
		},
		{
			name: "a prefix that makes no name skips the keys and warns",
			envFrom: []corev1.EnvFromSource{
				{Prefix: "a=", ConfigMapRef: &corev1.ConfigMapEnvSource{LocalObjectReference: corev1.LocalObjectReference{Name: "settings"}}},
			},
			want:    []string{},
			warning: "Keys [a=color, a=size.max] from the EnvFrom configMap shop/settings were skipped since they are considered invalid environment variable names.",
		},
		{
			name:    "a missing ConfigMap of envFrom is an error",
			envFrom: []corev1.EnvFromSource{{ConfigMapRef: &corev1.ConfigMapEnvSource{LocalObjectReference: corev1.LocalObjectReference{Name: "nope"}}}},
			err:     `configmap "nope" not found`,
		},
		{
			name:    "an optional missing Secret of envFrom is none",
			envFrom: []corev1.EnvFromSource{{SecretRef: &corev1.SecretEnvSource{LocalObjectReference: corev1.LocalObjectReference{Name: "nope"}, Optional: ptr(true)}}},
			want:    []string{},
		},
		{name: "a key of a ConfigMap", env: configMapKey("settings", "color", false), want: []string{"X=red"}},
		{name: "a missing key of a ConfigMap", env: configMapKey("settings", "shape", false), err: "couldn't find key shape in ConfigMap shop/settings"},
		{name: "an optional missing key leaves the variable out", env: configMapKey("settings", "shape", true), want: []string{}},
		{name: "an optional missing ConfigMap leaves the variable out", env: configMapKey("nope", "shape", true), want: []string{}},
		{name: "a key of a Secret", env: secretKey("keys", "token"), want: []string{"X=t0p"}},
		{name: "a missing key of a Secret", env: secretKey("keys", "user"), err: "couldn't find key user in Secret shop/keys"},
		{name: "a missing Secret", env: secretKey("nope", "user"), err: `secret "nope" not found`},
		{name: "a variable of an env file", env: fileKey("app.env", "B", false), want: []string{"X=two\nlines"}},
		{name: "an optional env file that is missing", env: fileKey("none.env", "B", true), want: []string{}},
		{name: "a variable that an env file has not", env: fileKey("app.env", "C", false), err: `environment variable key "C" not found in file "app.env"`},
		{name: "an env file that is a link out of the volume", env: fileKey("out.env", "C", false), err: "couldn't parse env file"},
		{
			name:     "services of the namespace and the API server",
			services: []*corev1.Service{nginx, api, service("shop", "headless", "None"), service("other", "x", "10.0.0.9")},
			want: []string{
				"KUBERNETES_PORT=tcp://10.0.0.1:443", "KUBERNETES_PORT_443_TCP=tcp://10.0.0.1:443",
				"KUBERNETES_PORT_443_TCP_ADDR=10.0.0.1", "KUBERNETES_PORT_443_TCP_PORT=443", "KUBERNETES_PORT_443_TCP_PROTO=tcp",
				"KUBERNETES_SERVICE_HOST=10.0.0.1", "KUBERNETES_SERVICE_PORT=443", "KUBERNETES_SERVICE_PORT_HTTPS=443",
				"MY_WEB_PORT=tcp://10.0.0.7:80",
				"MY_WEB_PORT_53_UDP=udp://10.0.0.7:53", "MY_WEB_PORT_53_UDP_ADDR=10.0.0.7", "MY_WEB_PORT_53_UDP_PORT=53", "MY_WEB_PORT_53_UDP_PROTO=udp",
				"MY_WEB_PORT_80_TCP=tcp://10.0.0.7:80", "MY_WEB_PORT_80_TCP_ADDR=10.0.0.7", "MY_WEB_PORT_80_TCP_PORT=80", "MY_WEB_PORT_80_TCP_PROTO=tcp",
				"MY_WEB_SERVICE_HOST=10.0.0.7", "MY_WEB_SERVICE_PORT=80", "MY_WEB_SERVICE_PORT_D_NS=53", "MY_WEB_SERVICE_PORT_HTTP=80",
			},
		},
		{
			name:     "without links only the API server, and env goes first",
			services: []*corev1.Service{nginx, service("default", "kubernetes", "fd00::1", corev1.ServicePort{Port: 443})},
			noLinks:  true,
			env:      []corev1.EnvVar{{Name: "KUBERNETES_SERVICE_HOST", Value: "x"}, {Name: "U", Value: "$(KUBERNETES_PORT)"}},
			want: []string{
				"KUBERNETES_PORT=tcp://[fd00::1]:443", "KUBERNETES_PORT_443_TCP=tcp://[fd00::1]:443",
				"KUBERNETES_PORT_443_TCP_ADDR=fd00::1", "KUBERNETES_PORT_443_TCP_PORT=443", "KUBERNETES_PORT_443_TCP_PROTO=tcp",
				"KUBERNETES_SERVICE_HOST=x", "KUBERNETES_SERVICE_PORT=443", "U=tcp://[fd00::1]:443",
			},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			container := corev1.Container{Name: "c", Env: tt.env, EnvFrom: tt.envFrom}
			pod := &corev1.Pod{
				ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "p"},
				Spec:       corev1.PodSpec{Containers: []corev1.Container{container}, EnableServiceLinks: ptr(!tt.noLinks)},
			}
			env, warnings, err := environment.Variables(t.Context(), store, environment.Input{
				Pod: pod, Container: &pod.Spec.Containers[0], Services: tt.services,
				VolumePath: func(string) (string, error) { return files, nil },
			})
			if tt.err != "" {
				if err == nil || !strings.Contains(err.Error(), tt.err) {
					t.Fatalf("error %v, want %q", err, tt.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if !slices.Equal(env, tt.want) {
				t.Errorf("got\n%s\nwant\n%s", strings.Join(env, "\n"), strings.Join(tt.want, "\n"))
			}
			got := ""
			for _, w := range warnings {
				got += w.Message
			}
			if got != tt.warning {
				t.Errorf("warning %q, want %q", got, tt.warning)
			}
		})
	}
}

func TestField(t *testing.T) {
	in := environment.Input{
		Pod: &corev1.Pod{
			ObjectMeta: metav1.ObjectMeta{
				Namespace: "shop", Name: "web", UID: "u-1",
				Labels:      map[string]string{"b": "2", "a": "say \"hi\"\n"},
				Annotations: map[string]string{"example.com/x": "y"},
			},
			Spec: corev1.PodSpec{NodeName: "n1", ServiceAccountName: "robot"},
		},
		PodIPs: []string{"10.1.0.4", "fd00::4"}, HostIPs: []string{"192.0.2.1", "2001:db8::1"},
	}
	for path, want := range map[string]string{
		"metadata.name":                         "web",
		"metadata.namespace":                    "shop",
		"metadata.uid":                          "u-1",
		"metadata.labels":                       "a=\"say \\\"hi\\\"\\n\"\nb=\"2\"",
		"metadata.labels['b']":                  "2",
		"metadata.labels['missing']":            "",
		"metadata.annotations['example.com/x']": "y",
		"spec.nodeName":                         "n1",
		"spec.serviceAccountName":               "robot",
		"status.podIP":                          "10.1.0.4",
		"status.podIPs":                         "10.1.0.4,fd00::4",
		"status.hostIP":                         "192.0.2.1",
		"status.hostIPs":                        "192.0.2.1,2001:db8::1",
	} {
		if got, err := environment.Field(in, path); err != nil || got != want {
			t.Errorf("%s: %q (%v), want %q", path, got, err, want)
		}
	}
	for path, want := range map[string]string{
		"spec.replicas":      "unsupported fieldPath: spec.replicas",
		"metadata.name['x']": `fieldPath "metadata.name['x']" does not support subscript`,
	} {
		if _, err := environment.Field(in, path); err == nil || err.Error() != want {
			t.Errorf("%s: error %v, want %q", path, err, want)
		}
	}
}

func TestResource(t *testing.T) {
	c := &corev1.Container{Resources: corev1.ResourceRequirements{
		Limits:   corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("1500m"), "hugepages-2Mi": resource.MustParse("4Mi")},
		Requests: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("250m"), corev1.ResourceMemory: resource.MustParse("100Mi")},
	}}
	without := &corev1.Container{}
	alone := &corev1.Pod{}
	limited := &corev1.Pod{Spec: corev1.PodSpec{Resources: &corev1.ResourceRequirements{
		Limits: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("1250m"), "hugepages-2Mi": resource.MustParse("8Mi")},
	}}}
	allocatable := corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("4"), corev1.ResourceMemory: resource.MustParse("8Gi"), "hugepages-2Mi": resource.MustParse("16Mi")}
	tests := []struct {
		pod                     *corev1.Pod
		container               *corev1.Container
		resource, divisor, want string
	}{
		{limited, without, "limits.cpu", "", "2"},
		{limited, without, "limits.cpu", "1m", "1250"},
		{limited, without, "limits.memory", "1Gi", "8"},
		{limited, c, "limits.cpu", "1m", "1500"},
		{limited, without, "requests.cpu", "", "0"},
		{limited, without, "limits.hugepages-2Mi", "1Mi", "0"},
		{alone, without, "limits.cpu", "", "4"},
		{alone, c, "limits.cpu", "", "2"},
		{alone, c, "limits.cpu", "1m", "1500"},
		{alone, c, "requests.cpu", "", "1"},
		{alone, c, "requests.memory", "", "104857600"},
		{alone, c, "requests.memory", "1Mi", "100"},
		{alone, c, "limits.memory", "1Gi", "8"},
		{alone, c, "limits.hugepages-2Mi", "1Mi", "4"},
		{alone, c, "requests.ephemeral-storage", "", "0"},
	}
	for _, tt := range tests {
		ref := &corev1.ResourceFieldSelector{Resource: tt.resource}
		if tt.divisor != "" {
			ref.Divisor = resource.MustParse(tt.divisor)
		}
		if got, err := environment.Resource(ref, tt.pod, tt.container, allocatable); err != nil || got != tt.want {
			t.Errorf("%s / %q: %q (%v), want %q", tt.resource, tt.divisor, got, err, tt.want)
		}
	}
	if _, err := environment.Resource(&corev1.ResourceFieldSelector{Resource: "limits.gpu"}, alone, c, nil); err == nil {
		t.Error("limits.gpu has a value")
	}
}

func TestExpandCommand(t *testing.T) {
	got := environment.ExpandCommand([]string{"echo", "$(A)", "$$(A)", "$(B", "a$"}, []string{"A=x=y"})
	if want := []string{"echo", "x=y", "$(A)", "$(B", "a$"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestHosts(t *testing.T) {
	pod := &corev1.Pod{Spec: corev1.PodSpec{
		HostAliases: []corev1.HostAlias{{IP: "10.9.9.9", Hostnames: []string{"a.test", "b.test"}}},
	}}
	got := string(environment.Hosts(pod, []string{"10.1.0.4", "fd00::4"}, "web-0", "web.shop.svc.cluster.local", nil))
	want := "# Kubernetes-managed hosts file.\n127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n" +
		"fe00::\tip6-localnet\nfe00::\tip6-mcastprefix\nfe00::1\tip6-allnodes\nfe00::2\tip6-allrouters\n" +
		"10.1.0.4\tweb-0.web.shop.svc.cluster.local\tweb-0\nfd00::4\tweb-0.web.shop.svc.cluster.local\tweb-0\n" +
		"\n# Entries added by HostAliases.\n10.9.9.9\ta.test\tb.test\n"
	if got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	pod = &corev1.Pod{Spec: corev1.PodSpec{HostNetwork: true}}
	got = string(environment.Hosts(pod, nil, "n1", "", []byte("127.0.0.1 localhost n1\n")))
	if want := "# Kubernetes-managed hosts file (host network).\n127.0.0.1 localhost n1\n"; got != want {
		t.Errorf("host network: got %q, want %q", got, want)
	}
}

func TestHostname(t *testing.T) {
	long := strings.Repeat("a", 62) + "-" + "bcd"
	tests := []struct {
		name             string
		pod              corev1.Pod
		hostname, domain string
		err              string
	}{
		{name: "the pod's name", pod: corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "web"}}, hostname: "web"},
		{name: "a long name is cut and ends in no dash", pod: corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: long}}, hostname: strings.Repeat("a", 62)},
		{
			name:     "hostname and subdomain",
			pod:      corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "ns"}, Spec: corev1.PodSpec{Hostname: "h", Subdomain: "s"}},
			hostname: "h", domain: "s.ns.svc.cluster.local",
		},
		{name: "an override stands alone", pod: corev1.Pod{Spec: corev1.PodSpec{HostnameOverride: ptr("x.example.com")}}, hostname: "x.example.com"},
		{name: "a hostname with a dot", pod: corev1.Pod{Spec: corev1.PodSpec{Hostname: "a.b"}}, err: `pod Hostname "a.b" is not a valid DNS label`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			hostname, domain, err := environment.Hostname(&tt.pod, "cluster.local")
			if tt.err != "" {
				if err == nil || !strings.HasPrefix(err.Error(), tt.err) {
					t.Fatalf("error %v, want %q", err, tt.err)
				}
				return
			}
			if err != nil || hostname != tt.hostname || domain != tt.domain {
				t.Errorf("%q, %q (%v), want %q, %q", hostname, domain, err, tt.hostname, tt.domain)
			}
		})
	}
}

func TestResolvConf(t *testing.T) {
	dns := environment.DNS{
		ClusterDNS: []string{"10.0.0.10"}, ClusterDomain: "cluster.local",
		ResolvConf: []byte("# by dhcp\nnameserver 192.0.2.53\nsearch corp.example. lan\noptions timeout:1\n"),
	}
	cluster := "search shop.svc.cluster.local svc.cluster.local cluster.local corp.example lan\nnameserver 10.0.0.10\noptions ndots:5\n"
	node := "search corp.example lan\nnameserver 192.0.2.53\noptions timeout:1\n"
	var many []string
	for i := range 40 {
		many = append(many, string(rune('a'+i%26))+strings.Repeat("x", i)+".test")
	}
	tests := []struct {
		name    string
		spec    corev1.PodSpec
		dns     environment.DNS
		want    string
		warning string
	}{
		{name: "ClusterFirst", spec: corev1.PodSpec{DNSPolicy: corev1.DNSClusterFirst}, dns: dns, want: cluster},
		{name: "ClusterFirst on the host's network is Default", spec: corev1.PodSpec{DNSPolicy: corev1.DNSClusterFirst, HostNetwork: true}, dns: dns, want: node},
		{name: "ClusterFirstWithHostNet", spec: corev1.PodSpec{DNSPolicy: corev1.DNSClusterFirstWithHostNet, HostNetwork: true}, dns: dns, want: cluster},
		{name: "Default", spec: corev1.PodSpec{DNSPolicy: corev1.DNSDefault}, dns: dns, want: node},
		{
			name: "None with a configuration",
			spec: corev1.PodSpec{DNSPolicy: corev1.DNSNone, DNSConfig: &corev1.PodDNSConfig{
				Nameservers: []string{"1.1.1.1"}, Searches: []string{"x.test"}, Options: []corev1.PodDNSConfigOption{{Name: "edns0"}},
			}},
			dns: dns, want: "search x.test\nnameserver 1.1.1.1\noptions edns0\n",
		},
		{
			name: "a configuration adds servers and replaces options",
			spec: corev1.PodSpec{DNSPolicy: corev1.DNSClusterFirst, DNSConfig: &corev1.PodDNSConfig{
				Nameservers: []string{"10.0.0.10", "1.1.1.1"}, Options: []corev1.PodDNSConfigOption{{Name: "ndots", Value: ptr("2")}},
			}},
			dns:  dns,
			want: "search shop.svc.cluster.local svc.cluster.local cluster.local corp.example lan\nnameserver 10.0.0.10\nnameserver 1.1.1.1\noptions ndots:2\n",
		},
		{
			name: "more than three servers are cut with a warning",
			spec: corev1.PodSpec{DNSPolicy: corev1.DNSNone, DNSConfig: &corev1.PodDNSConfig{Nameservers: []string{"1.1.1.1", "2.2.2.2", "3.3.3.3", "4.4.4.4"}}},
			dns:  dns, want: "nameserver 1.1.1.1\nnameserver 2.2.2.2\nnameserver 3.3.3.3\n",
			warning: "Nameserver limits were exceeded, some nameservers have been omitted, the applied nameserver line is: 1.1.1.1 2.2.2.2 3.3.3.3",
		},
		{
			name:    "without a cluster DNS ClusterFirst falls back with a warning",
			spec:    corev1.PodSpec{DNSPolicy: corev1.DNSClusterFirst},
			dns:     environment.DNS{ResolvConf: dns.ResolvConf},
			want:    node,
			warning: `pod: "p_shop(u)". kubelet does not have ClusterDNS IP configured and cannot create Pod using "ClusterFirst" policy. Falling back to "Default" policy.`,
		},
		{
			name: "more than 32 search paths are cut with a warning",
			spec: corev1.PodSpec{DNSPolicy: corev1.DNSNone, DNSConfig: &corev1.PodDNSConfig{Searches: many}},
			dns:  dns, want: "search " + strings.Join(many[:32], " ") + "\n",
			warning: "Search Line limits were exceeded, some search paths have been omitted, the applied search line is: " + strings.Join(many[:32], " "),
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "p", UID: "u"}, Spec: tt.spec}
			got, warnings, err := environment.ResolvConf(tt.dns, pod)
			if err != nil || string(got) != tt.want {
				t.Errorf("got %q (%v), want %q", got, err, tt.want)
			}
			text := ""
			for _, w := range warnings {
				text += w.Message
			}
			if text != tt.warning {
				t.Errorf("warning %q, want %q", text, tt.warning)
			}
		})
	}
}
