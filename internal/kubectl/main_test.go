package main

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

const asKubectl = "SKIFF_TEST_AS_KUBECTL"

func TestMain(m *testing.M) {
	if os.Getenv(asKubectl) != "" {
		main()
		return
	}
	os.Exit(m.Run())
}

func TestStartsAsStockKubectl(t *testing.T) {
	dir := t.TempDir()
	write := func(name, content string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	preferences := write("kuberc", "")
	access := write("config", `{"apiVersion": "v1", "kind": "Config", "current-context": "c",
		"clusters": [{"name": "c", "cluster": {"server": "https://127.0.0.1:1"}}],
		"users": [{"name": "c", "user": {"auth-provider": {"name": "oidc", "config": {"client-id": "c"}}}}],
		"contexts": [{"name": "c", "context": {"cluster": "c", "user": "c"}}]}`)
	for _, c := range []struct {
		name string
		args []string
		want string
	}{
		{"the log is as verbose as asked while preferences are read", []string{"version", "--client", "-v=5", "--kuberc=" + preferences}, "kuberc: no preferences found in " + preferences},
		{"a name that looks like a verbosity is none", []string{"create", "configmap", "c", "--from-literal=a-v=b", "--dry-run=client", "-o", "name"}, "configmap/c\n"},
		{"OpenID Connect is known", []string{"get", "--raw", "/", "--kubeconfig=" + access}, "Must provide idp-issuer-url"},
	} {
		t.Run(c.name, func(t *testing.T) {
			cmd := exec.CommandContext(t.Context(), os.Args[0], c.args...)
			cmd.Env = append(os.Environ(), asKubectl+"=1", "HOME="+dir)
			var out bytes.Buffer
			cmd.Stdout, cmd.Stderr = &out, &out
			if err := cmd.Run(); err != nil {
				t.Log(err)
			}
			if !strings.Contains(out.String(), c.want) {
				t.Errorf("%s\ndoes not say %q", out.String(), c.want)
			}
		})
	}
}
