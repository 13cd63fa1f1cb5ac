package proxier

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/klog/v2"

	"github.com/skiffcluster/skiff/internal/addrpool"
	"github.com/skiffcluster/skiff/proxier/announce"
	"github.com/skiffcluster/skiff/proxier/backend"
	"github.com/skiffcluster/skiff/proxier/ipvs"
	"github.com/skiffcluster/skiff/proxier/nftables"
	"github.com/skiffcluster/skiff/proxier/trace"
)

// Mode is how services are served.
type Mode string

// The modes.
const (
	// ModeAuto is IPVS where the kernel has it, else nftables.
	ModeAuto     Mode = ""
	ModeIPVS     Mode = "ipvs"
	ModeNFTables Mode = "nftables"
	// ModeNone keeps rules in memory only, for simulated nodes.
	ModeNone Mode = "none"
)

var modes = []Mode{ModeAuto, ModeIPVS, ModeNFTables, ModeNone}

var schedulers = []string{"rr", "wrr", "lc", "wlc", "lblc", "lblcr", "dh", "sh", "mh", "sed", "nq", "fo", "ovf", "twos"}

// openBackend opens the backend of the configured mode and removes what the
// other left. Where ModeAuto falls back it returns why.
func (p *Proxier) openBackend() (b backend.Backend, fallback error, err error) {
	mode := p.cfg.Mode
	if mode == ModeAuto || mode == ModeIPVS {
		b, err = p.openIPVS()
		switch {
		case err == nil:
			p.use(ModeIPVS)
			return b, nil, nil
		case mode == ModeIPVS || !errors.Is(err, ipvs.ErrMissing):
			return nil, nil, fmt.Errorf("proxy mode ipvs: %w", err)
		}
		fallback, mode = err, ModeNFTables
	}
	if mode == ModeNone {
		p.use(ModeNone)
		return trace.New(), nil, nil
	}
	if ipvs.Present(p.cfg.NetNS) {
		if err := ipvs.Cleanup(p.cfg.NetNS); err != nil {
			return nil, nil, fmt.Errorf("remove rules of mode ipvs: %w", err)
		}
	}
	nb, err := nftables.Open(p.kernel)
	if err != nil {
		return nil, nil, fmt.Errorf("proxy mode nftables: %w (it needs root and a kernel with nf_tables and NAT, Linux 5.10 or later)", err)
	}
	p.use(ModeNFTables)
	return nb, fallback, nil
}

func (p *Proxier) openIPVS() (backend.Backend, error) {
	b, err := ipvs.Open(ipvs.Config{Config: p.kernel, Scheduler: p.cfg.IPVSScheduler})
	if err != nil {
		return nil, err
	}
	if err := nftables.Cleanup(p.cfg.NetNS); err != nil {
		return nil, errors.Join(fmt.Errorf("remove rules of mode nftables: %w", err), b.Close())
	}
	return b, nil
}

func (p *Proxier) use(m Mode) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.mode = m
}

// Mode returns the mode in use; empty before Run has chosen one.
func (p *Proxier) Mode() Mode {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.mode
}

// recordStart logs the mode and tells it in events on the Node.
func (p *Proxier) recordStart(ctx context.Context, fallback error) {
	log := klog.FromContext(ctx)
	log.Info("Starting proxier", "mode", p.Mode())
	p.event(ctx, corev1.EventTypeNormal, "Starting", "StartKubeProxy", "")
	if fallback != nil {
		log.Info("Falling back to nftables", "reason", fallback.Error())
		p.metrics.fallback.WithLabelValues(fallback.Error()).Set(1)
		p.event(ctx, corev1.EventTypeWarning, "ProxyModeFallback", "StartKubeProxy",
			"Services are served by nftables instead of IPVS: "+fallback.Error())
	}
}

func (p *Proxier) event(ctx context.Context, kind, reason, action, note string) {
	now := metav1.NewMicroTime(time.Now())
	e := &eventsv1.Event{
		ObjectMeta:          metav1.ObjectMeta{Name: fmt.Sprintf("%s.%x", p.cfg.NodeName, now.UnixNano()), Namespace: metav1.NamespaceDefault},
		EventTime:           now,
		ReportingController: "kube-proxy",
		ReportingInstance:   "kube-proxy-" + p.cfg.NodeName,
		Action:              action,
		Reason:              reason,
		Type:                kind,
		Note:                note,
		// Events on nodes carry the name for a UID, as the node agent's do.
		Regarding: corev1.ObjectReference{Kind: "Node", Name: p.cfg.NodeName, UID: types.UID(p.cfg.NodeName)},
	}
	if _, err := p.client.EventsV1().Events(e.Namespace).Create(ctx, e, metav1.CreateOptions{}); err != nil && ctx.Err() == nil {
		klog.FromContext(ctx).Error(err, "Event was not recorded", "reason", reason)
	}
}

// Cleanup removes everything that a Proxier of any mode left in the network
// namespace at path; empty is the process's own. pool are the load-balancer
// addresses that it may have announced, as Config has them.
func Cleanup(path, pool string) error {
	var errs []error
	addresses, err := addrpool.Parse(pool)
	if err == nil && len(addresses) > 0 {
		err = (&announce.Announcer{NetNS: path, Pool: addresses}).Release()
	}
	if err != nil {
		errs = append(errs, fmt.Errorf("give back load-balancer addresses: %w", err))
	}
	if err := ipvs.Cleanup(path); err != nil {
		errs = append(errs, fmt.Errorf("remove rules of mode ipvs: %w", err))
	}
	if err := nftables.Cleanup(path); err != nil {
		errs = append(errs, fmt.Errorf("remove rules of mode nftables: %w", err))
	}
	return errors.Join(errs...)
}

func splitList(s string) []string {
	return strings.FieldsFunc(s, func(r rune) bool { return r == ',' || r == ' ' })
}
