package apiserver_test

import (
	"fmt"
	"net/http"
	"testing"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/skiffcluster/skiff/cluster/clustertest"
)

// A stream that begins by a GET, as WebSockets do, needs the right to create.
func TestStreamsNeedTheRightToCreate(t *testing.T) {
	t.Parallel()
	c := clustertest.APIServer(t)
	k, ctx := clientset(t, c.RESTConfig()), t.Context()
	pod := &corev1.Pod{ObjectMeta: named("web"), Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "web", Image: "web:1"}}}}
	account(t, k, "default")
	if _, err := k.CoreV1().Pods("default").Create(ctx, pod, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	streams := []string{"pods/exec", "pods/attach", "pods/portforward"}
	for who, verbs := range map[string][]string{"getter": {"get"}, "creator": {"get", "create"}} {
		rules := []rbacv1.PolicyRule{{APIGroups: []string{""}, Resources: streams, Verbs: verbs}}
		if _, err := k.RbacV1().ClusterRoles().Create(ctx, &rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: who}, Rules: rules}, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
		if _, err := k.RbacV1().ClusterRoleBindings().Create(ctx, &rbacv1.ClusterRoleBinding{
			ObjectMeta: metav1.ObjectMeta{Name: who}, RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: who},
			Subjects: []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: "User", Name: who}},
		}, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	getter, creator := rawTo(t, c.As("getter")), rawTo(t, c.As("creator"))
	for _, stream := range []string{"exec?command=ls&stdout=1", "attach?stdout=1", "portforward?ports=80"} {
		path := "/api/v1/namespaces/default/pods/web/" + stream
		// The pod is on no node: who may begin a stream is told so.
		eventually(t, func() error {
			if a := creator.get(path); a.code != http.StatusBadRequest {
				return fmt.Errorf("%s by who may create: %d %s", stream, a.code, a.body)
			}
			return nil
		})
		if a := getter.get(path); a.code != http.StatusForbidden {
			t.Errorf("%s by who may get: %d %s", stream, a.code, a.body)
		}
	}
}
