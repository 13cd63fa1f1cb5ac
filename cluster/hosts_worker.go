package cluster

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"sync"

	restclient "k8s.io/client-go/rest"

	"github.com/skiffcluster/skiff/dns"
	"github.com/skiffcluster/skiff/nodeagent"
	"github.com/skiffcluster/skiff/proxier"
)

// Worker is all of one node, on the host that this process runs on: its agent,
// and the proxier and the DNS that serve its pods.
type Worker struct {
	// Agent's REST must be set: a user of system:nodes.
	Agent nodeagent.Config
	// Proxier's REST is a user with the rights of system:node-proxier.
	Proxier proxier.Config
	// DNS is a user with the rights of system:coredns, and DNSAddress where names
	// are answered.
	DNS        *restclient.Config
	DNSAddress netip.Addr
}

// Run runs the node until ctx ends or a part of it fails; ready is called once
// all of it serves. Pods go on when it returns.
func (w Worker) Run(ctx context.Context, ready func()) error {
	agent, err := nodeagent.New(w.Agent)
	if err != nil {
		return err
	}
	w.Proxier.NodeName = w.Agent.NodeName
	proxy, err := proxier.New(w.Proxier)
	if err != nil {
		return err
	}
	release, err := dns.BindAddress("", w.DNSAddress)
	if err != nil {
		return fmt.Errorf("cluster DNS address: %w", err)
	}
	names, err := dns.New(dns.Config{
		REST: w.DNS, ListenAddresses: []string{netip.AddrPortFrom(w.DNSAddress, 53).String()},
		ClusterDomain: w.Agent.ClusterDomain, ResolvConf: w.Agent.ResolvConf,
	})
	if err != nil {
		return errors.Join(err, release())
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	parts := map[string]component{"node agent": agent, "proxier": proxy, "dns": released{names, release}}
	var running sync.WaitGroup
	for name, part := range parts {
		running.Go(func() {
			err := part.Run(ctx)
			if err == nil && ctx.Err() == nil {
				err = errors.New("ended by itself")
			}
			if err != nil {
				cancel(fmt.Errorf("%s: %w", name, err))
			}
		})
	}
	running.Go(func() {
		for _, part := range parts {
			select {
			case <-part.Ready():
			case <-ctx.Done():
				return
			}
		}
		ready()
	})
	running.Wait()
	if err := context.Cause(ctx); !errors.Is(err, context.Canceled) {
		return err
	}
	return nil
}
