package apps_test

import (
	"context"
	"slices"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/utils/ptr"

	"github.com/skiffcluster/skiff/api/apps"
	"github.com/skiffcluster/skiff/api/kindtest"
)

var labels = map[string]string{"app": "web"}

func template() corev1.PodTemplateSpec {
	return corev1.PodTemplateSpec{
		ObjectMeta: metav1.ObjectMeta{Labels: labels},
		Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "web", Image: "web:1"}}},
	}
}

func selector() *metav1.LabelSelector { return &metav1.LabelSelector{MatchLabels: labels} }

func meta() metav1.ObjectMeta { return metav1.ObjectMeta{Name: "web", Namespace: "default"} }

func TestDeploymentDefaults(t *testing.T) {
	d := &appsv1.Deployment{}
	apps.Deployment.Default(d)
	if *d.Spec.Replicas != 1 || *d.Spec.RevisionHistoryLimit != 10 || *d.Spec.ProgressDeadlineSeconds != 600 {
		t.Errorf("%+v", d.Spec)
	}
	r := d.Spec.Strategy.RollingUpdate
	if d.Spec.Strategy.Type != appsv1.RollingUpdateDeploymentStrategyType || r.MaxSurge.String() != "25%" || r.MaxUnavailable.String() != "25%" {
		t.Errorf("strategy %+v", d.Spec.Strategy)
	}
	recreate := &appsv1.Deployment{}
	recreate.Spec.Strategy.Type = appsv1.RecreateDeploymentStrategyType
	apps.Deployment.Default(recreate)
	if recreate.Spec.Strategy.RollingUpdate != nil {
		t.Error("a Deployment that recreates has no rolling update")
	}
}

func TestDeploymentValidation(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(*appsv1.Deployment)
		want   []string
	}{
		{"a plain deployment is valid", func(*appsv1.Deployment) {}, nil},
		{"replicas are not negative", func(d *appsv1.Deployment) { d.Spec.Replicas = ptr.To[int32](-1) }, []string{
			"spec.replicas: Invalid value: -1: must be greater than or equal to 0",
		}},
		{"a selector is required", func(d *appsv1.Deployment) { d.Spec.Selector = nil }, []string{
			"spec.selector: Required value",
			"spec.template.metadata.labels: Invalid value: {\"app\":\"web\"}: `selector` does not match template `labels`",
		}},
		{"a selector selects something", func(d *appsv1.Deployment) { d.Spec.Selector = &metav1.LabelSelector{} }, []string{
			"spec.selector: Invalid value: {}: empty selector is invalid for deployment",
		}},
		{"the selector matches the template", func(d *appsv1.Deployment) { d.Spec.Selector.MatchLabels = map[string]string{"app": "db"} }, []string{
			"spec.template.metadata.labels: Invalid value: {\"app\":\"web\"}: `selector` does not match template `labels`",
		}},
		{"pods restart", func(d *appsv1.Deployment) { d.Spec.Template.Spec.RestartPolicy = corev1.RestartPolicyNever }, []string{
			"spec.template.spec.restartPolicy: Unsupported value: \"Never\": supported values: \"Always\"",
		}},
		{"pods have no deadline", func(d *appsv1.Deployment) { d.Spec.Template.Spec.ActiveDeadlineSeconds = ptr.To[int64](5) }, []string{
			"spec.template.spec.activeDeadlineSeconds: Forbidden: activeDeadlineSeconds in ReplicaSet is not Supported",
		}},
		{"something must be able to move", func(d *appsv1.Deployment) {
			d.Spec.Strategy.RollingUpdate.MaxSurge = ptr.To(intstr.FromInt32(0))
			d.Spec.Strategy.RollingUpdate.MaxUnavailable = ptr.To(intstr.FromString("0%"))
		}, []string{"spec.strategy.rollingUpdate.maxUnavailable: Invalid value: \"0%\": may not be 0 when `maxSurge` is 0"}},
		{"unavailable is at most all", func(d *appsv1.Deployment) {
			d.Spec.Strategy.RollingUpdate.MaxUnavailable = ptr.To(intstr.FromString("101%"))
		}, []string{"spec.strategy.rollingUpdate.maxUnavailable: Invalid value: \"101%\": must not be greater than 100%"}},
		{"a percentage is one", func(d *appsv1.Deployment) {
			d.Spec.Strategy.RollingUpdate.MaxSurge = ptr.To(intstr.FromString("many"))
		}, []string{"spec.strategy.rollingUpdate.maxSurge: Invalid value: \"many\": a valid percent string must be"}},
		{"recreating does not roll", func(d *appsv1.Deployment) { d.Spec.Strategy.Type = appsv1.RecreateDeploymentStrategyType }, []string{
			"spec.strategy.rollingUpdate: Forbidden: may not be specified when strategy `type` is 'Recreate'",
		}},
		{"progress takes longer than being ready", func(d *appsv1.Deployment) { d.Spec.MinReadySeconds = 600 }, []string{
			"spec.progressDeadlineSeconds: Invalid value: 600: must be greater than minReadySeconds",
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			d := &appsv1.Deployment{ObjectMeta: meta(), Spec: appsv1.DeploymentSpec{Selector: selector(), Template: template()}}
			apps.Deployment.Default(d)
			c.change(d)
			kindtest.Errors(t, apps.Deployment.Validate(d), c.want...)
		})
	}
}

func TestSelectorsAreImmutable(t *testing.T) {
	other := &metav1.LabelSelector{MatchLabels: map[string]string{"app": "db"}}
	const want = "spec.selector: Invalid value: {\"matchLabels\":{\"app\":\"db\"}}: field is immutable"
	old := &appsv1.Deployment{Spec: appsv1.DeploymentSpec{Selector: selector()}}
	kindtest.Errors(t, apps.Deployment.ValidateUpdate(&appsv1.Deployment{Spec: appsv1.DeploymentSpec{Selector: other}}, old), want)
	kindtest.Errors(t, apps.Deployment.ValidateUpdate(old, old))
	kindtest.Errors(t, apps.ReplicaSet.ValidateUpdate(&appsv1.ReplicaSet{Spec: appsv1.ReplicaSetSpec{Selector: other}},
		&appsv1.ReplicaSet{Spec: appsv1.ReplicaSetSpec{Selector: selector()}}), want)
	kindtest.Errors(t, apps.DaemonSet.ValidateUpdate(&appsv1.DaemonSet{Spec: appsv1.DaemonSetSpec{Selector: other}},
		&appsv1.DaemonSet{Spec: appsv1.DaemonSetSpec{Selector: selector()}}), want)
}

func TestDeploymentStatus(t *testing.T) {
	old := &appsv1.Deployment{Status: appsv1.DeploymentStatus{CollisionCount: ptr.To[int32](2)}}
	d := &appsv1.Deployment{Status: appsv1.DeploymentStatus{
		Replicas: 1, UpdatedReplicas: 2, ReadyReplicas: 1, AvailableReplicas: 2, CollisionCount: ptr.To[int32](1),
	}}
	kindtest.Errors(t, apps.Deployment.Status.Validate(d, old),
		"status.updatedReplicas: Invalid value: 2: cannot be greater than status.replicas",
		"status.availableReplicas: Invalid value: 2: cannot be greater than status.replicas",
		"status.availableReplicas: Invalid value: 2: cannot be greater than readyReplicas",
		"status.collisionCount: Invalid value: 1: cannot be decremented")
}

func TestScale(t *testing.T) {
	d := &appsv1.Deployment{Spec: appsv1.DeploymentSpec{Replicas: ptr.To[int32](2), Selector: selector()}, Status: appsv1.DeploymentStatus{Replicas: 1}}
	spec, status := apps.Deployment.Scale.Get(d)
	if spec.Replicas != 2 || status.Replicas != 1 || status.Selector != "app=web" {
		t.Errorf("%+v %+v", spec, status)
	}
	apps.Deployment.Scale.Set(d, 5)
	if *d.Spec.Replicas != 5 {
		t.Error(*d.Spec.Replicas)
	}
}

func TestColumns(t *testing.T) {
	d := apps.Deployment.Erase()
	var names, wide []string
	for _, c := range d.Columns {
		if c.Priority == 0 {
			names = append(names, c.Name)
		} else {
			wide = append(wide, c.Name)
		}
	}
	if got := strings.Join(names, " "); got != "Name Ready Up-to-date Available Age" {
		t.Error(got)
	}
	if got := strings.Join(wide, " "); got != "Containers Images Selector" {
		t.Error(got)
	}
	obj := &appsv1.Deployment{
		ObjectMeta: meta(), Spec: appsv1.DeploymentSpec{Replicas: ptr.To[int32](3), Selector: selector(), Template: template()},
		Status: appsv1.DeploymentStatus{ReadyReplicas: 1, UpdatedReplicas: 2, AvailableReplicas: 1},
	}
	want := []any{"web", "1/3", int64(2), int64(1), metav1.Time{}, "web", "web:1", "app=web"}
	if got := d.Cells(obj); !slices.Equal(got, want) {
		t.Errorf("%v", got)
	}
}

func TestStatefulSetUpdate(t *testing.T) {
	base := func() *appsv1.StatefulSet {
		s := &appsv1.StatefulSet{ObjectMeta: meta(), Spec: appsv1.StatefulSetSpec{
			Selector: selector(), Template: template(), ServiceName: "web",
			VolumeClaimTemplates: []corev1.PersistentVolumeClaim{{ObjectMeta: metav1.ObjectMeta{Name: "data"}, Spec: corev1.PersistentVolumeClaimSpec{
				AccessModes: []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce},
				Resources:   corev1.VolumeResourceRequirements{Requests: corev1.ResourceList{}},
			}}},
		}}
		apps.StatefulSet.Default(s)
		return s
	}
	scaled := base()
	scaled.Spec.Replicas = ptr.To[int32](7)
	scaled.Spec.Template.Spec.Containers[0].Image = "web:2"
	kindtest.Errors(t, apps.StatefulSet.ValidateUpdate(scaled, base()))
	moved := base()
	moved.Spec.ServiceName = "other"
	kindtest.Errors(t, apps.StatefulSet.ValidateUpdate(moved, base()), `spec.serviceName: Invalid value: "other": field is immutable`)
}

func TestStatefulSetPodsMountTheirClaims(t *testing.T) {
	s := &appsv1.StatefulSet{ObjectMeta: meta(), Spec: appsv1.StatefulSetSpec{Selector: selector(), Template: template()}}
	s.Spec.Template.Spec.Containers[0].VolumeMounts = []corev1.VolumeMount{{Name: "data", MountPath: "/data"}}
	apps.StatefulSet.Default(s)
	kindtest.Errors(t, apps.StatefulSet.Validate(s), "spec.template.spec.containers[0].volumeMounts[0].name: Not found: \"data\"")
	claim := corev1.PersistentVolumeClaim{ObjectMeta: metav1.ObjectMeta{Name: "data"}}
	claim.Spec.AccessModes = []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce}
	s.Spec.VolumeClaimTemplates = []corev1.PersistentVolumeClaim{claim}
	kindtest.Errors(t, apps.StatefulSet.Validate(s), "spec.volumeClaimTemplates[0].spec.resources[storage]: Required value")
}

func TestDaemonSetTemplateGeneration(t *testing.T) {
	d := &appsv1.DaemonSet{ObjectMeta: meta(), Spec: appsv1.DaemonSetSpec{Selector: selector(), Template: template()}}
	apps.DaemonSet.PrepareCreate(d)
	generation := func(d *appsv1.DaemonSet) string { return d.Annotations[appsv1.DeprecatedTemplateGeneration] }
	if generation(d) != "1" {
		t.Errorf("at first %q", generation(d))
	}
	same := d.DeepCopy()
	same.Annotations = nil
	apps.DaemonSet.PrepareUpdate(same, d)
	if generation(same) != "1" {
		t.Errorf("unchanged %q", generation(same))
	}
	changed := d.DeepCopy()
	changed.Spec.Template.Spec.Containers[0].Image = "web:2"
	apps.DaemonSet.PrepareUpdate(changed, d)
	if generation(changed) != "2" {
		t.Errorf("changed %q", generation(changed))
	}
}

func TestDaemonSetStrategy(t *testing.T) {
	d := &appsv1.DaemonSet{ObjectMeta: meta(), Spec: appsv1.DaemonSetSpec{Selector: selector(), Template: template()}}
	apps.DaemonSet.Default(d)
	kindtest.Errors(t, apps.DaemonSet.Validate(d))
	d.Spec.UpdateStrategy.RollingUpdate.MaxSurge = ptr.To(intstr.FromInt32(1))
	kindtest.Errors(t, apps.DaemonSet.Validate(d), "spec.updateStrategy.rollingUpdate.maxSurge: Invalid value: 1: may not be set when maxUnavailable is non-zero")
	d.Spec.UpdateStrategy.RollingUpdate.MaxSurge = ptr.To(intstr.FromInt32(0))
	d.Spec.UpdateStrategy.RollingUpdate.MaxUnavailable = ptr.To(intstr.FromInt32(0))
	kindtest.Errors(t, apps.DaemonSet.Validate(d), "spec.updateStrategy.rollingUpdate.maxUnavailable: Required value: cannot be 0 when maxSurge is 0")
}

func TestControllerRevision(t *testing.T) {
	k := apps.ControllerRevision.Erase()
	r := &appsv1.ControllerRevision{ObjectMeta: meta(), Revision: -1}
	r.OwnerReferences = []metav1.OwnerReference{{APIVersion: "apps/v1", Kind: "StatefulSet", Name: "web", Controller: ptr.To(true)}}
	kindtest.Errors(t, k.Validate(context.Background(), r), "revision: Invalid value: -1: must be greater than or equal to 0",
		"data: Required value: data is mandatory")
	word := &appsv1.ControllerRevision{ObjectMeta: meta(), Data: runtime.RawExtension{Raw: []byte(`"word"`)}}
	kindtest.Errors(t, k.Validate(context.Background(), word), "data: Required value: data must be a valid JSON object")
	if got := k.Cells(r)[1]; got != "statefulset.apps/web" {
		t.Error(got)
	}
	changed := r.DeepCopy()
	changed.Data = runtime.RawExtension{Raw: []byte(`{}`)}
	kindtest.Errors(t, apps.ControllerRevision.ValidateUpdate(changed, r), "data: Invalid value: ")
}

func TestReplicaSetWarnings(t *testing.T) {
	r := &appsv1.ReplicaSet{ObjectMeta: metav1.ObjectMeta{Name: "Not.A.Label"}}
	if got := apps.ReplicaSet.Warnings(r, nil); len(got) == 0 || !strings.Contains(got[0], "a DNS label is recommended") {
		t.Error(got)
	}
}
