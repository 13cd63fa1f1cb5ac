package core_test

import (
	"testing"

	corev1 "k8s.io/api/core/v1"

	"github.com/skiffcluster/skiff/api/core"
)

func TestRowsOfPodsThatHaveEnded(t *testing.T) {
	for _, c := range []struct {
		name    string
		phase   corev1.PodPhase
		message string
	}{
		{"a pod that runs", corev1.PodRunning, ""},
		{"a pod that is done", corev1.PodSucceeded, "The pod has completed successfully."},
		{"a pod that failed", corev1.PodFailed, "The pod failed."},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := core.Pod.Erase().RowConditions(&corev1.Pod{Status: corev1.PodStatus{Phase: c.phase}})
			if c.message == "" {
				if got != nil {
					t.Errorf("%v", got)
				}
				return
			}
			if len(got) != 1 || got[0].Message != c.message || got[0].Reason != string(c.phase) || got[0].Type != "Completed" {
				t.Errorf("%v", got)
			}
		})
	}
}

func TestTLSSecretsAreLookedAt(t *testing.T) {
	for _, c := range []struct {
		name   string
		secret corev1.Secret
		want   []string
	}{
		{"other types are not", corev1.Secret{Type: corev1.SecretTypeOpaque}, nil},
		{"a certificate that is none", corev1.Secret{Type: corev1.SecretTypeTLS, Data: map[string][]byte{"tls.crt": []byte("a"), "tls.key": []byte("b")}},
			[]string{"tls: failed to find any PEM data in certificate input"}},
	} {
		t.Run(c.name, func(t *testing.T) { same(t, core.Secret.Warnings(&c.secret, nil), c.want) })
	}
}
