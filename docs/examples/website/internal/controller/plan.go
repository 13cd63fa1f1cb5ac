package controller

import (
	"fmt"
	"net"
	"strconv"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/intstr"
	appsv1apply "k8s.io/client-go/applyconfigurations/apps/v1"
	corev1apply "k8s.io/client-go/applyconfigurations/core/v1"
	metav1apply "k8s.io/client-go/applyconfigurations/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client/apiutil"

	webv1 "github.com/skiffcluster/skiff/docs/examples/website/api/v1"
)

// portName is what the Service calls the port of the container.
const portName = "http"

// labelsOf are those of a site's pods.
func labelsOf(site *webv1.Website) map[string]string {
	return map[string]string{"app.kubernetes.io/name": "website", "app.kubernetes.io/instance": site.Name}
}

// owner is a site as the owner of what it has.
func (r *Reconciler) owner(site *webv1.Website) (*metav1apply.OwnerReferenceApplyConfiguration, error) {
	gvk, err := apiutil.GVKForObject(site, r.Client.Scheme())
	if err != nil {
		return nil, fmt.Errorf("kind of the owner: %w", err)
	}
	return metav1apply.OwnerReference().
		WithAPIVersion(gvk.GroupVersion().String()).WithKind(gvk.Kind).
		WithName(site.Name).WithUID(site.UID).
		WithController(true).WithBlockOwnerDeletion(true), nil
}

func planDeployment(site *webv1.Website, owner *metav1apply.OwnerReferenceApplyConfiguration) *appsv1apply.DeploymentApplyConfiguration {
	replicas := int32(1)
	if site.Spec.Replicas != nil {
		replicas = *site.Spec.Replicas
	}
	container := corev1apply.Container().
		WithName("site").WithImage(site.Spec.Image).
		WithEnv(corev1apply.EnvVar().WithName("GREETING").WithValue(site.Spec.Greeting)).
		WithPorts(corev1apply.ContainerPort().WithName(portName).WithContainerPort(8080)).
		WithReadinessProbe(corev1apply.Probe().WithPeriodSeconds(1).
			WithHTTPGet(corev1apply.HTTPGetAction().WithPath("/readyz").WithPort(intstr.FromString(portName))))
	return appsv1apply.Deployment(site.Name, site.Namespace).
		WithLabels(labelsOf(site)).WithOwnerReferences(owner).
		WithSpec(appsv1apply.DeploymentSpec().
			WithReplicas(replicas).
			WithSelector(metav1apply.LabelSelector().WithMatchLabels(labelsOf(site))).
			WithTemplate(corev1apply.PodTemplateSpec().
				WithLabels(labelsOf(site)).
				WithSpec(corev1apply.PodSpec().WithContainers(container))))
}

func planService(site *webv1.Website, owner *metav1apply.OwnerReferenceApplyConfiguration) *corev1apply.ServiceApplyConfiguration {
	return corev1apply.Service(site.Name, site.Namespace).
		WithLabels(labelsOf(site)).WithOwnerReferences(owner).
		WithSpec(corev1apply.ServiceSpec().
			WithSelector(labelsOf(site)).
			WithPorts(corev1apply.ServicePort().WithName(portName).WithPort(site.Spec.Port).WithTargetPort(intstr.FromString(portName))))
}

// url is where a site answers in the cluster.
func url(site *webv1.Website) string {
	host := site.Name + "." + site.Namespace + ".svc"
	if site.Spec.Port != 80 {
		host = net.JoinHostPort(host, strconv.Itoa(int(site.Spec.Port)))
	}
	return "http://" + host + "/"
}

// planStatus says what has become of a site; failed is why it could not be
// served.
func planStatus(site *webv1.Website, d *appsv1.Deployment, failed error) webv1.WebsiteStatus {
	s := *site.Status.DeepCopy()
	s.ObservedGeneration = site.Generation
	s.Replicas = d.Status.Replicas
	s.Selector = labels.SelectorFromSet(labelsOf(site)).String()
	s.URL = url(site)
	c := metav1.Condition{Type: webv1.Available, Status: metav1.ConditionFalse, ObservedGeneration: site.Generation}
	switch {
	case failed != nil:
		c.Reason, c.Message = "Failed", failed.Error()
	case d.Generation == 0 || d.Status.ObservedGeneration < d.Generation || !available(d):
		c.Reason, c.Message = "Progressing", fmt.Sprintf("%d of %d pods serve", d.Status.AvailableReplicas, wanted(d))
	default:
		c.Status, c.Reason, c.Message = metav1.ConditionTrue, "Serving", fmt.Sprintf("%d pods serve", d.Status.AvailableReplicas)
	}
	meta.SetStatusCondition(&s.Conditions, c)
	return s
}

func wanted(d *appsv1.Deployment) int32 {
	if d.Spec.Replicas == nil {
		return 1
	}
	return *d.Spec.Replicas
}

// available says whether all pods serve, and only those of the newest
// template.
func available(d *appsv1.Deployment) bool {
	n := wanted(d)
	return d.Status.AvailableReplicas == n && d.Status.UpdatedReplicas == n && d.Status.Replicas == n
}

// tell writes an event when a site has become available, or no longer is.
func (r *Reconciler) tell(before, after *webv1.Website) {
	was := meta.FindStatusCondition(before.Status.Conditions, webv1.Available)
	is := meta.FindStatusCondition(after.Status.Conditions, webv1.Available)
	if was != nil && was.Status == is.Status && was.Reason == is.Reason {
		return
	}
	kind := corev1.EventTypeNormal
	if is.Reason == "Failed" {
		kind = corev1.EventTypeWarning
	}
	r.Events.Eventf(after, nil, kind, is.Reason, "Reconcile", "%s", is.Message)
}
