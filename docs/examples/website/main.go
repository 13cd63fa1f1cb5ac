// Command website is an operator whose Websites become Deployments and
// Services. Its layout is kubebuilder's, all in one small project.
package main

import (
	"flag"
	"os"
	"time"

	"k8s.io/apimachinery/pkg/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/klog/v2"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/healthz"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"
	"sigs.k8s.io/controller-runtime/pkg/webhook"

	webv1 "github.com/skiffcluster/skiff/docs/examples/website/api/v1"
	webv1alpha1 "github.com/skiffcluster/skiff/docs/examples/website/api/v1alpha1"
	"github.com/skiffcluster/skiff/docs/examples/website/internal/controller"
	websitewebhook "github.com/skiffcluster/skiff/docs/examples/website/internal/webhook"
)

func main() {
	ctrl.SetLogger(klog.NewKlogr())
	metrics := flag.String("metrics-bind-address", "0", "serve /metrics here; 0: nowhere")
	health := flag.String("health-probe-bind-address", ":8081", "serve /healthz and /readyz here")
	elect := flag.Bool("leader-elect", true, "act only while holding the Lease")
	namespace := flag.String("namespace", "website-system", "namespace of the Lease and of the directory of sites")
	image := flag.String("default-image", "skiff.dev/hello:v1", "what serves sites that name no image")
	hooks := webhook.Options{}
	flag.StringVar(&hooks.Host, "webhook-host", "", "address that webhooks are served on; empty: all")
	flag.IntVar(&hooks.Port, "webhook-port", 9443, "port that webhooks are served on; -1: they are not")
	flag.StringVar(&hooks.CertDir, "webhook-cert-path", "/tmp/k8s-webhook-server/serving-certs", "directory of tls.crt and tls.key")
	klog.InitFlags(nil)
	flag.Parse() // --kubeconfig is controller-runtime's

	if err := run(*metrics, *health, *elect, *namespace, *image, hooks); err != nil {
		klog.ErrorS(err, "Operator ended")
		os.Exit(1)
	}
}

// Scheme has the types that the operator works with.
func Scheme() (*runtime.Scheme, error) {
	s := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{clientgoscheme.AddToScheme, webv1.AddToScheme, webv1alpha1.AddToScheme} {
		if err := add(s); err != nil {
			return nil, err
		}
	}
	return s, nil
}

func run(metrics, health string, elect bool, namespace, image string, hooks webhook.Options) error {
	scheme, err := Scheme()
	if err != nil {
		return err
	}
	config, err := ctrl.GetConfig()
	if err != nil {
		return err
	}
	directory := client.ObjectKey{Namespace: namespace, Name: "websites"}
	// Whoever ends gives the Lease back and is followed at once, whoever is killed
	// within ten seconds. An API server that takes a second or two to answer, as
	// on a busy laptop, ends nobody.
	lease, renew, retry := 8*time.Second, 6*time.Second, 400*time.Millisecond
	m, err := ctrl.NewManager(config, ctrl.Options{
		Scheme: scheme, Metrics: metricsserver.Options{BindAddress: metrics}, HealthProbeBindAddress: health,
		LeaderElection: elect, LeaderElectionID: "website.example.com", LeaderElectionNamespace: namespace,
		LeaderElectionReleaseOnCancel: true, LeaseDuration: &lease, RenewDeadline: &renew, RetryPeriod: &retry,
		WebhookServer: webhook.NewServer(hooks),
		Cache:         controller.CacheOptions(directory),
	})
	if err != nil {
		return err
	}
	if err := (&controller.Reconciler{
		Client: m.GetClient(), Events: m.GetEventRecorder("website-operator"), Directory: directory,
	}).SetupWithManager(m); err != nil {
		return err
	}
	if hooks.Port >= 0 {
		if err := websitewebhook.Setup(m, image); err != nil {
			return err
		}
		if err := m.AddReadyzCheck("webhook", m.GetWebhookServer().StartedChecker()); err != nil {
			return err
		}
	}
	if err := m.AddHealthzCheck("ping", healthz.Ping); err != nil {
		return err
	}
	return m.Start(ctrl.SetupSignalHandler())
}
