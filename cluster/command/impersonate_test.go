package command

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"k8s.io/client-go/tools/clientcmd"
)

const twoContexts = `
apiVersion: v1
kind: Config
current-context: a
clusters: [{name: a, cluster: {server: "https://a"}}, {name: b, cluster: {server: "https://b"}}]
users: [{name: a, user: {token: secret-of-a}}, {name: b, user: {token: secret-of-b}}]
contexts: [{name: a, context: {cluster: a, user: a}}, {name: b, context: {cluster: b, user: b}}]
`

func TestKubeconfigOfSomebodyElse(t *testing.T) {
	from := filepath.Join(t.TempDir(), "config")
	if err := os.WriteFile(from, []byte(twoContexts), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name                  string
		args                  []string
		server, token, as, or string
	}{
		{"the current context, as it is", nil, "https://a", "secret-of-a", "", ""},
		{"another context, as a service account", []string{"--context", "b", "--as", "system:serviceaccount:ns:me"}, "https://b", "secret-of-b", "system:serviceaccount:ns:me", ""},
		{"a context that is missing", []string{"--context", "c"}, "", "", "", `there is no context "c"`},
		{"a group without a user", []string{"--as-group", "g"}, "", "", "", "need --as"},
		{"a service account without a namespace", []string{"--as", "system:serviceaccount:me"}, "", "", "", "is not system:serviceaccount:NAMESPACE:NAME"},
	} {
		t.Run(c.name, func(t *testing.T) {
			to := filepath.Join(t.TempDir(), "out")
			root := newRoot()
			root.SetArgs(append([]string{"kubeconfig", "--kubeconfig", from, "-o", to}, c.args...))
			err := root.ExecuteContext(t.Context())
			if c.or != "" {
				if err == nil || !strings.Contains(err.Error(), c.or) {
					t.Errorf("got %v, want %q in it", err, c.or)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if info, err := os.Stat(to); err != nil || info.Mode().Perm() != 0o600 {
				t.Errorf("file: got %v, %v", info, err)
			}
			config, err := clientcmd.BuildConfigFromFlags("", to)
			if err != nil {
				t.Fatal(err)
			}
			if config.Host != c.server || config.BearerToken != c.token || config.Impersonate.UserName != c.as {
				t.Errorf("got %s as %q with token %q", config.Host, config.Impersonate.UserName, config.BearerToken)
			}
			raw, err := os.ReadFile(to)
			if err != nil || strings.Count(string(raw), "secret-of") != 1 {
				t.Errorf("another context's secret is in it: %v\n%s", err, raw)
			}
		})
	}
}
