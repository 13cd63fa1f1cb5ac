package nodeagent

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	goruntime "runtime"
	"slices"
	"strings"
	"sync"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	kruntime "k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/record"
	"k8s.io/klog/v2"

	"github.com/skiffcluster/skiff/nodeagent/allocation"
	"github.com/skiffcluster/skiff/nodeagent/environment"
	"github.com/skiffcluster/skiff/nodeagent/eviction"
	"github.com/skiffcluster/skiff/nodeagent/image"
	"github.com/skiffcluster/skiff/nodeagent/lifecycle"
	"github.com/skiffcluster/skiff/nodeagent/network"
	"github.com/skiffcluster/skiff/nodeagent/network/cni"
	"github.com/skiffcluster/skiff/nodeagent/node"
	"github.com/skiffcluster/skiff/nodeagent/observe"
	"github.com/skiffcluster/skiff/nodeagent/podsource"
	"github.com/skiffcluster/skiff/nodeagent/podworker"
	"github.com/skiffcluster/skiff/nodeagent/probe"
	"github.com/skiffcluster/skiff/nodeagent/runtime"
	"github.com/skiffcluster/skiff/nodeagent/serve"
	"github.com/skiffcluster/skiff/nodeagent/status"
	"github.com/skiffcluster/skiff/nodeagent/steps"
	"github.com/skiffcluster/skiff/nodeagent/volume"
	"github.com/skiffcluster/skiff/nodeagent/volume/objects"
)

// Agent runs the pods of one node.
type Agent struct {
	cfg    Config
	client kubernetes.Interface
	engine *engine

	capacity, allocatable corev1.ResourceList
	info                  corev1.NodeSystemInfo

	network  network.Network
	policies *policies // nil where the network enforces none, or its plugins do
	prober   *probe.Prober
	objects  *objects.Cache
	volumes  *volume.Volumes
	services *services
	steps    *steps.Steps
	observer *observe.Observer
	node     *node.Node
	source   podsource.Source
	server   *serve.Server
	evictor  *eviction.Evictor // nil for pods in memory
	imageGC  *eviction.Images
	events   record.EventRecorder
	// broadcaster is the agent's own, nil if events are recorded elsewhere.
	broadcaster record.EventBroadcaster
	writer      *status.Writer

	ready  chan struct{}
	synced chan struct{}

	ctx   context.Context //nolint:containedctx // The agent's life, for workers.
	tasks sync.WaitGroup  // turns, actions and status writes

	mu      sync.Mutex
	workers map[types.UID]*podworker.Worker
	// wishes are pods whose specs ask for other resources than they were
	// allocated.
	wishes      map[types.UID]*corev1.Pod
	allocations *allocation.Store
}

// New prepares an agent: ports are taken and directories made, nothing runs.
func New(cfg Config) (*Agent, error) {
	if err := cfg.complete(); err != nil {
		return nil, err
	}
	a := &Agent{cfg: cfg, ready: make(chan struct{}), synced: make(chan struct{}), workers: map[types.UID]*podworker.Worker{}, wishes: map[types.UID]*corev1.Pod{}}
	var err error
	if a.client = cfg.Client; a.client == nil {
		// No limits on this side: the API server's priority and fairness decide.
		rc := rest.CopyConfig(cfg.REST)
		rc.QPS = -1
		if rc.ContentType == "" { // of events too, for which the client would choose JSON
			rc.ContentType, rc.AcceptContentTypes = kruntime.ContentTypeProtobuf, kruntime.ContentTypeProtobuf+","+kruntime.ContentTypeJSON
		}
		if a.client, err = kubernetes.NewForConfig(rc); err != nil {
			return nil, fmt.Errorf("node agent: client: %w", err)
		}
	}
	if a.capacity, a.allocatable, a.info, err = cfg.machine(); err != nil {
		return nil, err
	}
	a.recordEvents()
	for _, prepare := range []func() error{a.prepareRuntime, a.prepareAllocations, a.prepareNetwork, a.prepareVolumes, a.preparePods, a.prepareEviction, a.prepareServer} {
		if err := prepare(); err != nil {
			return nil, fmt.Errorf("node agent: %w", err)
		}
	}
	return a, nil
}

func (a *Agent) recordEvents() {
	if a.events = a.cfg.Events; a.events != nil {
		return
	}
	a.broadcaster = record.NewBroadcaster()
	a.events = a.broadcaster.NewRecorder(scheme.Scheme, corev1.EventSource{Component: "kubelet", Host: a.cfg.NodeName})
}

func (a *Agent) prepareRuntime() error {
	if a.cfg.Runtime != nil {
		ready := make(chan struct{})
		close(ready)
		a.engine = &engine{Runtime: a.cfg.Runtime, ready: ready, stop: func(context.Context) error { return nil }}
		return nil
	}
	var err error
	a.engine, err = startContainerd(&a.cfg)
	return err
}

func (a *Agent) prepareAllocations() error {
	dir := "" // containers in memory do not outlive the process either
	if !a.cfg.inMemory() {
		dir = filepath.Join(a.cfg.DataDir, "allocations")
	}
	var err error
	a.allocations, err = allocation.Open(dir)
	return err
}

func (a *Agent) prepareNetwork() error {
	if a.cfg.inMemory() {
		a.network = network.NewNone()
		return nil
	}
	if a.cfg.CNIConfDir != "" {
		plugins, err := cni.New(cni.Config{ConfDir: a.cfg.CNIConfDir, BinDir: a.cfg.CNIBinDir, Dir: filepath.Join(a.cfg.DataDir, "cni")})
		if err != nil {
			return err
		}
		a.network = plugins
		return nil
	}
	bridge, err := network.NewBridge(network.BridgeConfig{
		Dir: filepath.Join(a.cfg.DataDir, "network"), Name: a.cfg.BridgeName, MTU: a.cfg.MTU, ClusterCIDRs: a.cfg.ClusterCIDRs,
	})
	if err != nil {
		return err
	}
	a.network = bridge
	a.policies = newPolicies(a.client, a.cfg.NodeName, "skiff-policies-"+bridge.Name())
	return nil
}

func (a *Agent) prepareVolumes() error {
	if a.cfg.inMemory() {
		return nil
	}
	var err error
	if a.objects, err = objects.New(objects.Config{Client: a.client}); err != nil {
		return err
	}
	a.services = newServices(a.client)
	a.volumes, err = volume.New(volume.Config{
		DataDir: a.cfg.DataDir, Client: a.client, Objects: a.objects, Input: a.input,
		Node: func() *corev1.Node { return a.node.Get() },
		Event: func(pod *corev1.Pod, reason, message string) {
			a.record(pod, "", corev1.EventTypeWarning, reason, message)
		},
		Failed: func(pod *corev1.Pod, f *volume.FailedMount) {
			a.record(pod, "", corev1.EventTypeWarning, "FailedMount", f.Message)
		},
		Changed: func(uid types.UID) {
			if w := a.worker(uid); w != nil {
				w.RetryNow()
			}
		},
		Clock: a.cfg.Clock,
	})
	return err
}

// input is what the downward API shows of a pod.
func (a *Agent) input(pod *corev1.Pod) environment.Input {
	in := environment.Input{Pod: pod, HostIPs: a.hostIPs(), Allocatable: a.allocatable}
	for _, ip := range pod.Status.PodIPs {
		in.PodIPs = append(in.PodIPs, ip.IP)
	}
	if len(in.PodIPs) == 0 && !pod.Spec.HostNetwork {
		if ips, err := a.network.Reserve(context.Background(), string(pod.UID)); err == nil {
			for _, ip := range ips {
				in.PodIPs = append(in.PodIPs, ip.String())
			}
		}
	}
	if pod.Spec.HostNetwork {
		in.PodIPs = in.HostIPs
	}
	return in
}

func (a *Agent) preparePods() error {
	var hooks *lifecycle.Hooks
	if !a.cfg.inMemory() {
		var err error
		a.prober, err = probe.New(probe.Config{
			Exec:    execer{a.engine},
			Changed: func(c probe.Change) { a.poke(c.Target.Pod.UID) },
			Event: func(t probe.Target, eventType, reason, message string) {
				a.record(t.Pod, t.Container.Name, eventType, reason, message)
			},
			Clock: a.cfg.Clock,
		})
		if err != nil {
			return err
		}
		hooks = &lifecycle.Hooks{Exec: execer{a.engine}, Event: func(t lifecycle.Target, eventType, reason, message string) {
			a.record(t.Pod, t.Container.Name, eventType, reason, message)
		}}
	}
	sc := steps.Config{
		Runtime: a.engine, Network: a.network, Images: image.NewPuller(a.engine, a.cfg.Clock), Hooks: hooks,
		DNS: a.dns, Allocatable: func() corev1.ResourceList { return a.allocatable }, HostIPs: a.hostIPs,
		MemoryCapacity: a.capacity.Memory().Value(), LogDir: a.logDir(), ClusterDomain: a.cfg.ClusterDomain,
		Record: a.record, Clock: a.cfg.Clock, Protect: a.protectPod,
	}
	oc := observe.Config{Runtime: a.engine, Prober: a.prober}
	if a.volumes != nil {
		sc.Volumes, sc.Objects, sc.Services = a.volumes, a.objects, a.services.inNamespace
		oc.TerminationLog = func(uid types.UID, container string, attempt int) string {
			return steps.TerminationLog(a.volumes.PodDir(uid), container, attempt)
		}
	}
	a.steps = steps.New(sc)
	a.observer = observe.New(oc)
	if a.source = a.cfg.Pods; a.source == nil {
		a.source = podsource.NewAPI(a.client.CoreV1(), a.cfg.NodeName)
	}
	a.node = node.New(node.Config{
		Client: a.client, Name: a.cfg.NodeName, Labels: node.DefaultLabels(a.cfg.NodeName, goruntime.GOOS, goruntime.GOARCH, a.cfg.Labels),
		Taints: a.cfg.Taints, Observe: a.observeNode, SyncPeriod: a.cfg.SyncPeriod, ReportPeriod: a.cfg.ReportPeriod, LeasePeriod: a.cfg.LeasePeriod,
		Changed: a.nodeChanged, Watch: !a.cfg.DontWatchNode, Event: a.nodeEvent, Clock: a.cfg.Clock,
	})
	return nil
}

func (a *Agent) prepareServer() error {
	if a.cfg.Certificate == nil {
		return nil
	}
	systemLogs := "/var/log"
	if a.cfg.HideSystemLogs || a.cfg.inMemory() {
		systemLogs = ""
	}
	var err error
	a.server, err = serve.New(serve.Config{
		Address: a.cfg.Address, Port: a.cfg.Port, Listener: a.cfg.Listener, Certificate: a.cfg.Certificate, ClientCA: a.cfg.ClientCA,
		REST: a.cfg.REST, NodeName: a.cfg.NodeName, HealthPort: a.cfg.HealthPort, Healthy: a.healthy, SystemLogs: systemLogs, Backend: backend{a},
	})
	return err
}

func (a *Agent) logDir() string { return filepath.Join(a.cfg.DataDir, "logs") }

func (a *Agent) hostIPs() []string { return strings.Split(a.cfg.NodeIP, ",") }

func (a *Agent) dns() environment.DNS {
	// Read each time: DHCP clients rewrite it.
	own, err := os.ReadFile(a.cfg.ResolvConf)
	if err != nil {
		own = nil // a node without one resolves by the cluster's DNS alone
	}
	return environment.DNS{ClusterDNS: a.cfg.ClusterDNS, ClusterDomain: a.cfg.ClusterDomain, ResolvConf: own}
}

// Ready is closed once the node is registered and its pods are known.
func (a *Agent) Ready() <-chan struct{} { return a.ready }

// Node gives the newest known Node, nil before it is registered.
func (a *Agent) Node() *corev1.Node { return a.node.Get() }

// NodeChanged brings a newer Node where the agent does not watch it.
func (a *Agent) NodeChanged(n *corev1.Node) { a.node.Update(n) }

// Run runs the node until ctx ends. Pods, and a containerd of our own, go on
// when it returns.
func (a *Agent) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	a.ctx = ctx
	a.writer = status.NewWriter(ctx, a.client.CoreV1(), &a.tasks)
	if a.broadcaster != nil {
		watch := a.broadcaster.StartRecordingToSink(&eventSink{ctx: ctx, client: a.client.CoreV1()})
		defer a.broadcaster.Shutdown()
		defer watch.Stop()
	}
	parts := slices.Clone(a.engine.run)
	parts = append(parts,
		a.node.Run,
		a.becomeReady,
		func(ctx context.Context) error { return a.observer.Run(ctx, a.poke) },
		a.runPods,
	)
	if a.prober != nil {
		parts = append(parts, a.prober.Run)
	}
	if router, ok := a.network.(interface {
		network.Router
		KeepRoutes(ctx context.Context) error
	}); ok {
		parts = append(parts, a.followPeers, router.KeepRoutes)
	}
	if a.policies != nil {
		parts = append(parts, a.policies.run)
	}
	if a.volumes != nil {
		parts = append(parts, a.volumes.Run, a.objects.Run, a.services.run, a.evictor.Run, a.collectImages)
	}
	if a.server != nil {
		parts = append(parts, a.server.Run)
	}
	var running sync.WaitGroup
	for _, part := range parts {
		running.Go(func() {
			if err := part(ctx); err != nil && ctx.Err() == nil {
				cancel(err)
			}
		})
	}
	<-ctx.Done()
	running.Wait()
	a.closeWorkers()
	a.tasks.Wait()
	if bridge, ok := a.network.(interface{ Close() }); ok {
		bridge.Close()
	}
	if err := context.Cause(ctx); !errors.Is(err, context.Canceled) {
		return err
	}
	return nil
}

// becomeReady waits for the node, the runtime and the pods.
func (a *Agent) becomeReady(ctx context.Context) error {
	for _, c := range []<-chan struct{}{a.engine.ready, a.node.Registered(), a.synced} {
		select {
		case <-c:
		case <-ctx.Done():
			return nil
		}
	}
	a.node.Wake()
	close(a.ready)
	return nil
}

// runPods follows the pods of the node, once containers and services are known.
func (a *Agent) runPods(ctx context.Context) error {
	wait := []<-chan struct{}{a.engine.ready}
	if a.services != nil {
		wait = append(wait, a.services.synced)
	}
	for _, c := range wait {
		select {
		case <-c:
		case <-ctx.Done():
			return nil
		}
	}
	a.node.Wake() // the runtime is there now
	return a.source.Run(ctx, handler{a})
}

// observeNode tells what the node's status is made of.
func (a *Agent) observeNode(ctx context.Context) node.Observed {
	o := node.Observed{
		Capacity: a.capacity, Allocatable: a.allocatable, Info: a.info,
		Addresses: a.addresses(),
		Port:      a.port(),
	}
	info, err := a.engine.Info(ctx)
	if err != nil {
		o.NotReady = fmt.Errorf("container runtime is down: %w", err)
		o.Info.ContainerRuntimeVersion = a.runtimeName() + "://Unknown"
		return o
	}
	o.Info.ContainerRuntimeVersion = info.Name + "://" + info.Version
	if err := a.network.Ready(); err != nil {
		o.NotReady = fmt.Errorf("container runtime network not ready: NetworkReady=false reason:NetworkPluginNotReady message:Network plugin returns error: %w", err)
	}
	o.Images = a.images(ctx)
	if a.evictor != nil {
		o.Pressure = a.evictor.Pressure()
	}
	return o
}

func (a *Agent) addresses() []corev1.NodeAddress {
	var out []corev1.NodeAddress
	for _, ip := range a.hostIPs() {
		out = append(out, corev1.NodeAddress{Type: corev1.NodeInternalIP, Address: ip})
	}
	return append(out, corev1.NodeAddress{Type: corev1.NodeHostName, Address: a.cfg.NodeName})
}

func (a *Agent) runtimeName() string {
	if a.cfg.inMemory() {
		return "simulated"
	}
	return "containerd"
}

func (a *Agent) port() int32 {
	switch {
	case a.server != nil:
		return serverPort(a.server.Addr())
	case a.cfg.Port > 0:
		return int32(a.cfg.Port)
	}
	return serve.DefaultPort
}

// maxImages is how many images a node tells of, the kubelet's default.
const maxImages = 50

func (a *Agent) images(ctx context.Context) []corev1.ContainerImage {
	list, err := a.engine.ListImages(ctx)
	if err != nil {
		return nil // told with the next status
	}
	slices.SortFunc(list, func(x, y runtime.Image) int {
		if x.Size != y.Size {
			return int(min(max(y.Size-x.Size, -1), 1))
		}
		return slices.Compare(x.RepoTags, y.RepoTags)
	})
	var out []corev1.ContainerImage
	for _, img := range list[:min(len(list), maxImages)] {
		out = append(out, corev1.ContainerImage{Names: append(slices.Clone(img.RepoDigests), img.RepoTags...), SizeBytes: img.Size})
	}
	return out
}

// nodeChanged takes the pod CIDRs.
func (a *Agent) nodeChanged(n *corev1.Node) {
	cidrs := a.cfg.PodCIDRs
	if parsed := podCIDRs(n); len(parsed) > 0 {
		cidrs = parsed
	}
	if len(cidrs) == 0 {
		return
	}
	notReady := a.network.Ready() != nil
	if err := a.network.SetCIDRs(a.ctx, cidrs); err != nil {
		klog.FromContext(a.ctx).Error(err, "Setting up the pod network", "Node", a.cfg.NodeName)
		a.events.Event(a.nodeRef(), corev1.EventTypeWarning, "NetworkNotReady", err.Error())
		return
	}
	if notReady {
		a.node.Wake()
		a.pokeAll()
	}
}

func podCIDRs(n *corev1.Node) []netip.Prefix {
	texts := n.Spec.PodCIDRs
	if len(texts) == 0 && n.Spec.PodCIDR != "" {
		texts = []string{n.Spec.PodCIDR}
	}
	var out []netip.Prefix
	for _, text := range texts {
		if p, err := netip.ParsePrefix(text); err == nil { // validated by the API server
			out = append(out, p.Masked())
		}
	}
	return out
}

// nodeRef is what events of the node are about. As the kubelet has it, the UID
// is the node's name.
func (a *Agent) nodeRef() *corev1.ObjectReference {
	return &corev1.ObjectReference{Kind: "Node", APIVersion: "v1", Name: a.cfg.NodeName, UID: types.UID(a.cfg.NodeName), Namespace: metav1.NamespaceNone}
}

func (a *Agent) nodeEvent(reason, message string) {
	a.events.Event(a.nodeRef(), corev1.EventTypeNormal, reason, message)
}

func (a *Agent) healthy() error { return nil }

// Runtime is what runs the node's containers, for those who load images.
func (a *Agent) Runtime() runtime.Runtime { return a.engine }
