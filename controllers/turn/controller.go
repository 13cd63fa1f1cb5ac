package turn

import (
	"time"

	"k8s.io/client-go/util/workqueue"
	"k8s.io/utils/clock"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
)

// NewController begins the description of a controller of mgr with a queue that
// costs nothing while it is empty.
func NewController(mgr ctrl.Manager) *builder.Builder {
	return ctrl.NewControllerManagedBy(mgr).WithOptions(WithQueue(controller.Options{}))
}

// WithQueue adds that queue to what else a controller is to have. It is
// kube-controller-manager's, first come first served: controller-runtime's own
// has four goroutines more, and each of forty queues would wake the process
// twice a second to say for how long its work is unfinished.
func WithQueue(o controller.Options) controller.Options {
	o.NewQueue = func(name string, limiter workqueue.TypedRateLimiter[reconcile.Request]) workqueue.TypedRateLimitingInterface[reconcile.Request] {
		return workqueue.NewTypedRateLimitingQueueWithConfig(limiter, workqueue.TypedRateLimitingQueueConfig[reconcile.Request]{Name: name, Clock: seldom{}})
	}
	return o
}

// seldom is for a queue's two tickers, neither of which it needs for its work:
// one keeps the metric of unfinished work, the other looks for what should have
// come up by itself.
type seldom struct{ clock.RealClock }

// tickEvery is how old the metric may be: half of Prometheus' default
// scrape_interval.
const tickEvery = 30 * time.Second

// NewTicker implements clock.WithTicker.
func (s seldom) NewTicker(d time.Duration) clock.Ticker {
	return s.RealClock.NewTicker(max(d, tickEvery))
}
