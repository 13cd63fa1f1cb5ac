package apiserver_test

import (
	"bufio"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	auditv1 "k8s.io/apiserver/pkg/apis/audit/v1"
	"k8s.io/apiserver/pkg/server/options"

	"github.com/skiffcluster/skiff/apiserver"
	"github.com/skiffcluster/skiff/cluster"
)

const policy = `apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
- {level: None, nonResourceURLs: ["/healthz*", "/readyz*"]}
- {level: Metadata, resources: [{group: "", resources: [secrets]}]}
- {level: RequestResponse, resources: [{group: "", resources: [configmaps]}], namespaces: [default], omitManagedFields: true}
- {level: Request, verbs: [create], resources: [{group: "", resources: [services]}]}
- {level: Metadata, users: [bob, "system:anonymous"]}
- {level: None}
`

// auditing gives the flags' defaults with a policy.
func auditing(t *testing.T) *options.AuditOptions {
	t.Helper()
	o := options.NewAuditOptions()
	o.PolicyFile = filepath.Join(t.TempDir(), "policy.yaml")
	if err := os.WriteFile(o.PolicyFile, []byte(policy), 0o600); err != nil {
		t.Fatal(err)
	}
	return o
}

// recorded reads an audit log.
func recorded(t *testing.T, path string) []auditv1.Event {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	var out []auditv1.Event
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var e auditv1.Event
		if err := json.Unmarshal(lines.Bytes(), &e); err != nil {
			t.Fatalf("%v: %s", err, lines.Bytes())
		}
		out = append(out, e)
	}
	return out
}

// brief says of an event who did what, and what was kept of it.
func brief(e auditv1.Event) string {
	out := fmt.Sprintf("%s %s %s %s %d", e.Level, e.Stage, e.User.Username, e.Verb, e.ResponseStatus.Code)
	if e.ObjectRef != nil {
		out += " " + e.ObjectRef.Resource + " " + e.ObjectRef.Namespace + "/" + e.ObjectRef.Name
	} else {
		out += " " + e.RequestURI
	}
	if e.ImpersonatedUser != nil {
		out += " as " + e.ImpersonatedUser.Username
	}
	if e.RequestObject != nil {
		out += " request"
	}
	if e.ResponseObject != nil {
		out += " response"
	}
	return out
}

func TestRequestsAreRecordedAsThePolicySays(t *testing.T) {
	t.Parallel()
	for _, mode := range []string{options.ModeBatch, options.ModeBlocking, options.ModeBlockingStrict} {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			o := auditing(t)
			o.LogOptions.Path, o.LogOptions.BatchOptions.Mode = filepath.Join(t.TempDir(), "log", "audit.log"), mode
			c := socket(t, func(cfg *cluster.Config) { cfg.APIServer.Audit = o })
			over, inside := clientset(t, access(t, c)), clientset(t, c.As("bob", "system:masters"))
			ctx := t.Context()
			if _, err := over.CoreV1().Secrets("default").Create(ctx, &corev1.Secret{ObjectMeta: named("s"), StringData: map[string]string{"a": hidden}}, metav1.CreateOptions{}); err != nil {
				t.Fatal(err)
			}
			if _, err := inside.CoreV1().ConfigMaps("default").Create(ctx, &corev1.ConfigMap{ObjectMeta: named("m")}, metav1.CreateOptions{}); err != nil {
				t.Fatal(err)
			}
			if _, err := inside.CoreV1().Pods("default").Get(ctx, "none", metav1.GetOptions{}); err == nil {
				t.Fatal("there is a pod")
			}
			if _, err := over.CoreV1().Pods("default").List(ctx, metav1.ListOptions{}); err != nil {
				t.Fatal(err)
			}
			r := rawTo(t, access(t, c))
			r.get("/api/v1/namespaces/default/secrets/s", "Impersonate-User", "ann")
			rawTo(t, as(t, c, "")).get("/api/v1/nodes")
			r.get("/healthz")
			c.Stop()
			var got []string
			for _, e := range recorded(t, o.LogOptions.Path) {
				got = append(got, brief(e))
				if e.AuditID == "" || e.RequestReceivedTimestamp.IsZero() || e.StageTimestamp.IsZero() || len(e.SourceIPs) == 0 {
					t.Errorf("%+v", e)
				}
			}
			want := []string{
				"Metadata ResponseComplete kubernetes-admin create 201 secrets default/s",
				"RequestResponse ResponseComplete bob create 201 configmaps default/m request response",
				"Metadata ResponseComplete bob get 404 pods default/none",
				"Metadata ResponseComplete kubernetes-admin get 403 secrets default/s as ann",
			}
			if strings.Join(got, "\n") != strings.Join(want, "\n") {
				t.Errorf("%s", strings.Join(got, "\n"))
			}
			raw, err := os.ReadFile(o.LogOptions.Path)
			if err != nil || strings.Contains(string(raw), hidden) || strings.Contains(string(raw), "managedFields") {
				t.Errorf("%v %s", err, raw)
			}
			if info, err := os.Stat(o.LogOptions.Path); err != nil || info.Mode().Perm() != 0o600 {
				t.Errorf("%v %v", err, info.Mode())
			}
		})
	}
}

// TestALogThatCanNotBeWritten: on a full disk the server goes on, except where
// it was told that nothing may go on unrecorded.
func TestALogThatCanNotBeWritten(t *testing.T) {
	t.Parallel()
	for mode, ok := range map[string]bool{options.ModeBatch: true, options.ModeBlocking: true, options.ModeBlockingStrict: false} {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			o := auditing(t)
			if err := os.WriteFile(o.PolicyFile, []byte("apiVersion: audit.k8s.io/v1\nkind: Policy\nrules: [{level: Metadata, resources: [{group: '', resources: [configmaps]}]}]\n"), 0o600); err != nil {
				t.Fatal(err)
			}
			o.LogOptions.Path, o.LogOptions.BatchOptions.Mode = "/dev/full", mode
			c := socket(t, func(cfg *cluster.Config) { cfg.APIServer.Audit = o })
			k := clientset(t, access(t, c))
			if _, err := k.CoreV1().ConfigMaps("default").Create(t.Context(), &corev1.ConfigMap{ObjectMeta: named("m")}, metav1.CreateOptions{}); (err == nil) != ok {
				t.Errorf("%v", err)
			}
		})
	}
}

func TestRequestsAreRecordedByAServer(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	var got []string
	s := httptest.NewTLSServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		var l auditv1.EventList
		if err := json.NewDecoder(r.Body).Decode(&l); err != nil {
			t.Error(err)
		}
		mu.Lock()
		defer mu.Unlock()
		for _, e := range l.Items {
			got = append(got, brief(e))
		}
	}))
	defer s.Close()
	o := auditing(t)
	o.WebhookOptions.ConfigFile = webhookConfig(t, s)
	c := socket(t, func(cfg *cluster.Config) { cfg.APIServer.Audit = o })
	if _, err := clientset(t, access(t, c)).CoreV1().ConfigMaps("default").Create(t.Context(), &corev1.ConfigMap{ObjectMeta: named("m")}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	c.Stop() // before the batch is full or half a minute old
	mu.Lock()
	defer mu.Unlock()
	if len(got) != 1 || got[0] != "RequestResponse ResponseComplete kubernetes-admin create 201 configmaps default/m request response" {
		t.Errorf("%s", strings.Join(got, "\n"))
	}
}

// TestADeadRecorder: nobody waits for it, also not a stop.
func TestADeadRecorder(t *testing.T) {
	t.Parallel()
	hang := make(chan struct{})
	s := httptest.NewTLSServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-hang }))
	defer s.Close()
	defer close(hang)
	o := auditing(t)
	o.WebhookOptions.ConfigFile = webhookConfig(t, s)
	o.WebhookOptions.BatchOptions.BatchConfig.BufferSize, o.WebhookOptions.BatchOptions.BatchConfig.MaxBatchSize = 2, 1
	c := socket(t, func(cfg *cluster.Config) { cfg.APIServer.Audit = o })
	k := clientset(t, access(t, c))
	for i := range 50 {
		if _, err := k.CoreV1().ConfigMaps("default").Create(t.Context(), &corev1.ConfigMap{ObjectMeta: named(fmt.Sprintf("m%d", i))}, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	stopped := make(chan struct{})
	go func() { defer close(stopped); c.Stop() }()
	select {
	case <-stopped:
	case <-time.After(time.Minute):
		t.Error("a stop waits for it")
	}
}

func TestAuditFlagsThatCanNotBe(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name   string
		change func(*testing.T, *options.AuditOptions)
		want   string
	}{
		{"a policy that is not there", func(_ *testing.T, o *options.AuditOptions) { o.PolicyFile = "/none" }, `loading audit policy file: failed to read file path "/none"`},
		{"a level that there is not", func(t *testing.T, o *options.AuditOptions) {
			replacePolicy(t, o, "level: Metadata", "level: Everything")
		}, `Unsupported value: "Everything"`},
		{"a stage that there is not", func(t *testing.T, o *options.AuditOptions) { replacePolicy(t, o, "RequestReceived", "Never") }, `omitStages[0]: Invalid value: "Never": allowed stages are RequestReceived,ResponseStarted,ResponseComplete,Panic`},
		{"a mode that there is not", func(_ *testing.T, o *options.AuditOptions) {
			o.LogOptions.Path, o.LogOptions.BatchOptions.Mode = "x", "sometimes"
		}, `invalid audit log mode sometimes, allowed modes are "batch,blocking,blocking-strict"`},
		{"a format that there is not", func(_ *testing.T, o *options.AuditOptions) { o.LogOptions.Path, o.LogOptions.Format = "x", "xml" }, `invalid audit log format xml, allowed formats are "legacy,json"`},
		{"a log that can't be opened", func(_ *testing.T, o *options.AuditOptions) { o.LogOptions.Path = "/proc/none/audit.log" }, "--audit-log-path: mkdir /proc/none"},
		{"a server without a kubeconfig", func(_ *testing.T, o *options.AuditOptions) { o.WebhookOptions.ConfigFile = "/none" }, "--audit-webhook-config-file /none: initializing audit webhook"},
	} {
		t.Run(c.name, func(t *testing.T) {
			cfg := onDisk(t.TempDir())
			cfg.Audit = auditing(t)
			c.change(t, cfg.Audit)
			if _, err := apiserver.New(t.Context(), cfg); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%v", err)
			}
		})
	}
}

func replacePolicy(t *testing.T, o *options.AuditOptions, old, text string) {
	t.Helper()
	if err := os.WriteFile(o.PolicyFile, []byte(strings.Replace(policy, old, text, 1)), 0o600); err != nil {
		t.Fatal(err)
	}
}

// webhookConfig points at a server.
func webhookConfig(t *testing.T, s *httptest.Server) string {
	t.Helper()
	ca := base64.StdEncoding.EncodeToString(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw}))
	path := filepath.Join(t.TempDir(), "webhook.conf")
	if err := os.WriteFile(path, []byte(`apiVersion: v1
kind: Config
clusters: [{name: c, cluster: {server: "`+s.URL+`", certificate-authority-data: "`+ca+`"}}]
contexts: [{name: x, context: {cluster: c}}]
current-context: x
`), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}
