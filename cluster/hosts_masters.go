package cluster

import (
	"context"
	"crypto/tls"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"sync"
	"time"

	restclient "k8s.io/client-go/rest"

	"github.com/skiffcluster/skiff/cluster/balancer"
)

// MakeHosts makes hosts for masters of the cluster that config is of, beside
// those of its nodes and on the first of their networks. It gives the hosts'
// addresses, of the family of the services, which an API server is one of.
// [Remove] takes them away.
func MakeHosts(config Config, names []string) (addresses []netip.Addr, err error) {
	config.complete()
	plan, err := config.makeHosts(names, make([]int, len(names)))
	if err != nil {
		return nil, err
	}
	services, err := first("service-cluster-ip-range", config.APIServer.ServiceClusterIPRange)
	if err != nil {
		return nil, err
	}
	for _, name := range names {
		h := plan.Hosts[name]
		if services.Addr().Is6() {
			addresses = append(addresses, plan.address6(h))
		} else {
			addresses = append(addresses, h.Address)
		}
	}
	return addresses, nil
}

// RunOnHost runs a process in the network of a host that [MakeHosts] made for
// the cluster in dir, or with an empty name in that of this machine, and waits
// for its end. The thread that starts it lives as long, so that the process may
// ask for a signal at its parent's death.
func RunOnHost(dir, name string, cmd *exec.Cmd) error {
	if name == "" {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		return cmd.Run()
	}
	return onHost(hostNS(dir, name), cmd.Run)
}

// certificateLook is the time between looks at a file whose certificate is
// renewed weeks before it ends.
const certificateLook = time.Minute

// overMasters has a client on a host go to whichever of several masters answers.
// Its certificate is read from its file again when that changes. keep is to be
// run for as long as the client is used.
func overMasters(c *restclient.Config, further []string) (_ *restclient.Config, keep func(context.Context), err error) {
	config, err := restclient.TLSConfigFor(c)
	if err != nil {
		return nil, nil, fmt.Errorf("TLS of masters' clients: %w", err)
	}
	file, key := c.CertFile, c.KeyFile
	config.Certificates = nil
	config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
		pair, err := tls.LoadX509KeyPair(file, key)
		return &pair, err
	}
	way, err := balancer.New(append([]string{c.Host}, further...), config)
	if err != nil {
		return nil, nil, err
	}
	return way.RESTConfig(""), func(ctx context.Context) {
		var group sync.WaitGroup
		defer group.Wait()
		group.Go(func() { way.Run(ctx) })
		tick := time.NewTicker(certificateLook)
		defer tick.Stop()
		for last := changed(file); ; {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
				if now := changed(file); !now.Equal(last) {
					way.Reconnect() // what is connected goes on with the old one
					last = now
				}
			}
		}
	}, nil
}

// changed is when a file was; the zero time when it is not there.
func changed(file string) time.Time {
	info, err := os.Stat(file)
	if err != nil {
		return time.Time{}
	}
	return info.ModTime()
}
