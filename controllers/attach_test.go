package controllers_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"

	"github.com/skiffcluster/skiff/cluster/clustertest"
	"github.com/skiffcluster/skiff/controllers"
)

// attacher does what a driver's external-attacher does: attaches what is asked
// for, and lets a VolumeAttachment go once its volume is detached.
type attacher struct {
	driver string

	mu     sync.Mutex
	refuse map[string]string // why a volume can't be attached
}

const attacherFinalizer = "external-attacher/disks-example-com"

func (a *attacher) refuses(pv, why string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.refuse[pv] = why
}

// runAttacher runs one until the test ends.
func runAttacher(t *testing.T, c client.Client) *attacher {
	t.Helper()
	a := &attacher{driver: "disks.example.com", refuse: map[string]string{}}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	t.Cleanup(func() { cancel(); <-done })
	go func() {
		defer close(done)
		wait.UntilWithContext(ctx, func(ctx context.Context) { a.work(ctx, c) }, 5*time.Millisecond)
	}()
	return a
}

// work looks at all attachments once. What fails is done the next time.
func (a *attacher) work(ctx context.Context, c client.Client) {
	var list storagev1.VolumeAttachmentList
	if c.List(ctx, &list) != nil {
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	for i := range list.Items {
		va := &list.Items[i]
		why := a.refuse[*va.Spec.Source.PersistentVolumeName]
		failed := va.Status.AttachError != nil && va.Status.AttachError.Message == why
		switch {
		case va.Spec.Attacher != a.driver:
		case va.DeletionTimestamp != nil:
			if controllerutil.RemoveFinalizer(va, attacherFinalizer) {
				_ = c.Update(ctx, va)
			}
		case controllerutil.AddFinalizer(va, attacherFinalizer):
			_ = c.Update(ctx, va)
		case why != "" && !failed:
			va.Status = storagev1.VolumeAttachmentStatus{AttachError: &storagev1.VolumeError{Time: metav1.Now(), Message: why}}
			_ = c.Status().Update(ctx, va)
		case why == "" && !va.Status.Attached:
			va.Status = storagev1.VolumeAttachmentStatus{Attached: true}
			_ = c.Status().Update(ctx, va)
		}
	}
}

// disk is a bound claim with a volume of the driver's. The volume binder does
// not run here.
func disk(t *testing.T, c client.Client, name string, modes ...corev1.PersistentVolumeAccessMode) {
	t.Helper()
	if len(modes) == 0 {
		modes = []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce}
	}
	claim := newClaim(name, "disks", "1Gi", func(c *corev1.PersistentVolumeClaim) { c.Spec.VolumeName, c.Spec.AccessModes = name, modes })
	create(t, c, claim)
	create(t, c, newVolume(name, "disks", "1Gi", func(v *corev1.PersistentVolume) {
		v.Spec.AccessModes = modes
		v.Spec.PersistentVolumeSource = corev1.PersistentVolumeSource{CSI: &corev1.CSIPersistentVolumeSource{Driver: "disks.example.com", VolumeHandle: "handle-" + name}}
		v.Spec.ClaimRef = &corev1.ObjectReference{Namespace: "default", Name: name, UID: claim.UID}
	}))
	claim.Status.Phase, claim.Status.Capacity = corev1.ClaimBound, corev1.ResourceList{corev1.ResourceStorage: resource.MustParse("1Gi")}
	claim.Status.AccessModes = modes
	if err := c.Status().Update(t.Context(), claim); err != nil {
		t.Fatal(err)
	}
}

func withDisk(name string) func(*corev1.Pod) {
	return func(pod *corev1.Pod) {
		pod.Spec.Volumes = append(pod.Spec.Volumes, corev1.Volume{Name: name, VolumeSource: corev1.VolumeSource{
			PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: name},
		}})
	}
}

// managedNode is one whose agent leaves attaching to the controller.
func managedNode(t *testing.T, c client.Client, name string) *corev1.Node {
	t.Helper()
	node := createNode(t, c, name)
	change(t, c, node, func() {
		metav1.SetMetaDataAnnotation(&node.ObjectMeta, "volumes.kubernetes.io/controller-managed-attach-detach", "true")
	})
	return node
}

func unique(disk string) corev1.UniqueVolumeName {
	return corev1.UniqueVolumeName("kubernetes.io/csi/disks.example.com^handle-" + disk)
}

// uses is what a node's agent says that it has mounted.
func uses(t *testing.T, c client.Client, node *corev1.Node, disks ...string) {
	t.Helper()
	before := node.DeepCopy()
	node.Status.VolumesInUse = nil
	for _, d := range disks {
		node.Status.VolumesInUse = append(node.Status.VolumesInUse, unique(d))
	}
	if err := c.Status().Patch(t.Context(), node, client.MergeFrom(before)); err != nil {
		t.Fatal(err)
	}
}

// hasDisks waits for the attachments of a node, and for what its status says.
func hasDisks(t *testing.T, c client.Client, node *corev1.Node, disks ...string) {
	t.Helper()
	want := strings.Join(disks, " ")
	eventually(t, func() string {
		var list storagev1.VolumeAttachmentList
		if err := c.List(t.Context(), &list); err != nil {
			t.Fatal(err)
		}
		var attached, reported []string
		for _, va := range list.Items {
			if va.Spec.NodeName == node.Name && va.Status.Attached {
				attached = append(attached, *va.Spec.Source.PersistentVolumeName)
			}
		}
		get(t, c, node)
		for _, v := range node.Status.VolumesAttached {
			reported = append(reported, strings.TrimPrefix(string(v.Name), string(unique(""))))
		}
		slices.Sort(attached)
		if a, r := strings.Join(attached, " "), strings.Join(reported, " "); a != want || r != want {
			return fmt.Sprintf("node %s has %q and says %q, want %q", node.Name, a, r, want)
		}
		return ""
	})
}

func deleteNow(t *testing.T, c client.Client, obj client.Object) {
	t.Helper()
	if err := c.Delete(t.Context(), obj, client.GracePeriodSeconds(0)); err != nil {
		t.Fatal(err)
	}
}

func startAttaching(t *testing.T, cfg controllers.Config) (client.Client, *attacher) {
	t.Helper()
	api := clustertest.APIServer(t)
	allowPods(t, api.Client())
	cfg.REST, cfg.Controllers = api.RESTConfig(), []string{"persistentvolume-attach-detach-controller", "persistentvolume-expander-controller"}
	run(t, cfg)
	return api.Client(), runAttacher(t, api.Client())
}

func TestVolumesFollowTheirPods(t *testing.T) {
	c, driver := startAttaching(t, controllers.Config{})
	one, two := managedNode(t, c, "one"), managedNode(t, c, "two")

	t.Run("a volume is attached where its pod is", func(t *testing.T) {
		disk(t, c, "data")
		pod := runningPod(t, c, "first", "one", "10.0.0.1", withDisk("data"))
		hasDisks(t, c, one, "data")
		hasEvent(t, c, "first", corev1.EventTypeNormal, "SuccessfulAttachVolume", `AttachVolume.Attach succeeded for volume "data" `)
		var list storagev1.VolumeAttachmentList
		if err := c.List(t.Context(), &list); err != nil || len(list.Items) != 1 {
			t.Fatalf("%v %+v", err, list.Items)
		}
		// sha256 of handle, driver and node, by which kubelets find it.
		if va := list.Items[0]; va.Name != "csi-f55b53e5b7aadb9918997b2df3f9658190f5ed52c85faa28156c5fca09cbb5a8" || va.Spec.Attacher != "disks.example.com" {
			t.Errorf("%s %+v", va.Name, va.Spec)
		}
		uses(t, c, one, "data")
		deleteNow(t, c, pod)
	})

	t.Run("another node waits until the first has let go", func(t *testing.T) {
		other := runningPod(t, c, "second", "two", "10.0.0.2", withDisk("data"))
		hasEvent(t, c, "second", corev1.EventTypeWarning, "FailedAttachVolume", `Multi-Attach error for volume "data" Volume is already exclusively attached to one node and can't be attached to another`)
		hasDisks(t, c, one, "data")
		hasDisks(t, c, two)
		uses(t, c, one)
		hasDisks(t, c, two, "data")
		hasDisks(t, c, one)
		deleteNow(t, c, other)
		hasDisks(t, c, two)
	})

	t.Run("the pod that has it is named", func(t *testing.T) {
		disk(t, c, "shared")
		holder := runningPod(t, c, "holder", "one", "10.0.0.3", withDisk("shared"))
		hasDisks(t, c, one, "shared")
		late := runningPod(t, c, "late", "two", "10.0.0.4", withDisk("shared"))
		hasEvent(t, c, "late", corev1.EventTypeWarning, "FailedAttachVolume", `Multi-Attach error for volume "shared" Volume is already used by pod(s) holder`)
		deleteNow(t, c, late)
		deleteNow(t, c, holder)
		hasDisks(t, c, one)
	})

	t.Run("a volume of many nodes is attached to all of them", func(t *testing.T) {
		disk(t, c, "many", corev1.ReadWriteMany)
		a, b := runningPod(t, c, "a", "one", "10.0.0.5", withDisk("many")), runningPod(t, c, "b", "two", "10.0.0.6", withDisk("many"))
		hasDisks(t, c, one, "many")
		hasDisks(t, c, two, "many")
		deleteNow(t, c, a)
		hasDisks(t, c, one)
		deleteNow(t, c, b)
		hasDisks(t, c, two)
	})

	t.Run("what the driver refuses is told, and tried until it does not", func(t *testing.T) {
		driver.refuses("bad", "rpc error: code = Internal desc = no disk left")
		disk(t, c, "bad")
		pod := runningPod(t, c, "unlucky", "one", "10.0.0.7", withDisk("bad"))
		hasEvent(t, c, "unlucky", corev1.EventTypeWarning, "FailedAttachVolume", `AttachVolume.Attach failed for volume "bad" : rpc error: code = Internal desc = no disk left`)
		driver.refuses("bad", "")
		hasDisks(t, c, one, "bad")
		deleteNow(t, c, pod)
		hasDisks(t, c, one)
	})

	t.Run("a pod that has ended needs no volume", func(t *testing.T) {
		disk(t, c, "once")
		pod := runningPod(t, c, "once", "one", "10.0.0.8", withDisk("once"))
		hasDisks(t, c, one, "once")
		pod.Status.Phase = corev1.PodSucceeded
		if err := c.Status().Update(t.Context(), pod); err != nil {
			t.Fatal(err)
		}
		hasDisks(t, c, one)
	})

	t.Run("a driver that needs no attaching is not asked, until it does", func(t *testing.T) {
		info := &storagev1.CSIDriver{ObjectMeta: metav1.ObjectMeta{Name: "disks.example.com"}, Spec: storagev1.CSIDriverSpec{AttachRequired: ptr.To(false)}}
		disk(t, c, "plain")
		pod := runningPod(t, c, "plain", "one", "10.0.0.9", withDisk("plain"))
		hasDisks(t, c, one, "plain")
		create(t, c, info)
		hasDisks(t, c, one)
		if err := c.Delete(t.Context(), info); err != nil {
			t.Fatal(err)
		}
		hasDisks(t, c, one, "plain")
		deleteNow(t, c, pod)
		hasDisks(t, c, one)
	})
}

func TestNodesThatDieLoseTheirVolumes(t *testing.T) {
	c, _ := startAttaching(t, controllers.Config{MaxWaitForUnmount: time.Second})
	for _, name := range []string{"silent", "broken", "well"} {
		node := managedNode(t, c, name)
		disk(t, c, name)
		pod := runningPod(t, c, name, name, "10.0.0.1", withDisk(name))
		hasDisks(t, c, node, name)
		uses(t, c, node, name)
		before := node.DeepCopy()
		switch name {
		case "silent": // no lease for 40 s
			node.Status.Conditions[0].Status = corev1.ConditionUnknown
			if err := c.Status().Patch(t.Context(), node, client.MergeFrom(before)); err != nil {
				t.Fatal(err)
			}
		case "broken": // a person says that it is off, whatever it says itself
			node.Spec.Taints = append(node.Spec.Taints, corev1.Taint{Key: corev1.TaintNodeOutOfService, Value: "nodeshutdown", Effect: corev1.TaintEffectNoExecute})
			if err := c.Patch(t.Context(), node, client.MergeFrom(before)); err != nil {
				t.Fatal(err)
			}
		}
		deleteNow(t, c, pod)
		if name != "well" {
			hasDisks(t, c, node)
		}
	}
	// One that is well keeps what it uses, however long that takes: by now it
	// has had its second.
	well := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "well"}}
	disk(t, c, "next")
	runningPod(t, c, "next", "well", "10.0.0.2", withDisk("next"))
	hasDisks(t, c, well, "next", "well")
}

// TestAClaimGrows plays a driver's external-resizer and a node.
func TestAClaimGrows(t *testing.T) {
	c, _ := startAttaching(t, controllers.Config{})
	create(t, c, &storagev1.StorageClass{ObjectMeta: metav1.ObjectMeta{Name: "disks"}, Provisioner: "disks.example.com", AllowVolumeExpansion: ptr.To(true)})
	disk(t, c, "data")
	claim, pv := &corev1.PersistentVolumeClaim{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "data"}}, &corev1.PersistentVolume{ObjectMeta: metav1.ObjectMeta{Name: "data"}}
	get(t, c, pv)
	size := func(s string) corev1.ResourceList {
		return corev1.ResourceList{corev1.ResourceStorage: resource.MustParse(s)}
	}
	ask := func(s string) error {
		get(t, c, claim)
		claim.Spec.Resources.Requests = size(s)
		return c.Update(t.Context(), claim)
	}
	status := func(how func(*corev1.PersistentVolumeClaimStatus)) {
		t.Helper()
		change(t, c, claim, func() {})
		before := claim.DeepCopy()
		how(&claim.Status)
		if err := c.Status().Patch(t.Context(), claim, client.MergeFrom(before)); err != nil {
			t.Fatal(err)
		}
	}
	step := func(s corev1.ClaimResourceStatus, kind corev1.PersistentVolumeClaimConditionType, allocated string) {
		t.Helper()
		status(func(st *corev1.PersistentVolumeClaimStatus) {
			st.AllocatedResources = size(allocated)
			st.AllocatedResourceStatuses = map[corev1.ResourceName]corev1.ClaimResourceStatus{corev1.ResourceStorage: s}
			st.Conditions = []corev1.PersistentVolumeClaimCondition{{Type: kind, Status: corev1.ConditionTrue, LastTransitionTime: metav1.Now()}}
		})
	}
	if err := ask("4Gi"); err != nil {
		t.Fatal(err)
	}
	hasEvent(t, c, "data", corev1.EventTypeNormal, "ExternalExpanding", "waiting for an external controller to expand this PVC")
	step(corev1.PersistentVolumeClaimControllerResizeInProgress, corev1.PersistentVolumeClaimResizing, "4Gi")
	// The driver has not so much: the user may ask for less, but for no less
	// than there is.
	step(corev1.PersistentVolumeClaimControllerResizeInfeasible, corev1.PersistentVolumeClaimControllerResizeError, "4Gi")
	if err := ask("2Gi"); err != nil {
		t.Errorf("less than was asked for, and more than there is: %v", err)
	}
	if err := ask("512Mi"); err == nil || !strings.Contains(err.Error(), "field can not be less than status.capacity") {
		t.Errorf("less than there is: %v", err)
	}
	change(t, c, pv, func() { pv.Spec.Capacity = size("2Gi") })
	step(corev1.PersistentVolumeClaimNodeResizePending, corev1.PersistentVolumeClaimFileSystemResizePending, "2Gi")
	// The node has grown the file system.
	status(func(st *corev1.PersistentVolumeClaimStatus) {
		st.Capacity, st.AllocatedResources, st.AllocatedResourceStatuses, st.Conditions = size("2Gi"), size("2Gi"), nil, nil
	})
	if got := claim.Status.Capacity.Storage().String(); got != "2Gi" || len(claim.Status.Conditions) != 0 {
		t.Errorf("%+v", claim.Status)
	}
	claim.Status.AllocatedResourceStatuses = map[corev1.ResourceName]corev1.ClaimResourceStatus{corev1.ResourceStorage: "Growing"}
	if err := c.Status().Update(t.Context(), claim); err == nil || !strings.Contains(err.Error(), `status.allocatedResourceStatuses: Unsupported value: "storage": supported values: "ControllerResizeInProgress"`) {
		t.Errorf("a status that there is not: %v", err)
	}
}
