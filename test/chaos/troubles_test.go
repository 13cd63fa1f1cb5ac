package chaos_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	"k8s.io/client-go/kubernetes"
)

// trouble is something that happens to a machine.
type trouble struct {
	name string
	// onWorker is it on one of the workers, onMaster on one of the masters.
	onWorker func(t *testing.T, c *skiffCluster, k kubernetes.Interface, w *worker) (heal func(), well func(context.Context) error)
	onMaster func(t *testing.T, c *skiffCluster, m *master) (heal func())
	instant  bool // it does not last
	kills    bool // connections to the worker's pod are lost in any case
	onAll    func(t *testing.T) (heal func())
}

var troubles = []trouble{
	{name: "master cut off from the network", onMaster: func(t *testing.T, c *skiffCluster, m *master) func() {
		return c.host(m.host).cut(t)
	}},
	{name: "master killed", onMaster: func(t *testing.T, c *skiffCluster, m *master) func() {
		return keepDown(t, filepath.Join(c.masterDir(m), "lock"), c.master(m))
	}},
	{name: "etcd member's disk removed", onMaster: func(t *testing.T, c *skiffCluster, m *master) func() {
		release := keepDown(t, filepath.Join(c.masterDir(m), "lock"), c.master(m))
		if err := os.RemoveAll(filepath.Join(c.masterDir(m), "etcd")); err != nil {
			t.Fatal(err)
		}
		return release
	}},
	{name: "worker killed", kills: true, onWorker: func(t *testing.T, c *skiffCluster, k kubernetes.Interface, w *worker) (func(), func(context.Context) error) {
		was := ""
		eventually(t, "the pod of "+w.name+" is known", func(ctx context.Context) error {
			p, err := podOn(ctx, k, w)
			if err == nil {
				was = p.Status.ContainerStatuses[0].ContainerID
			}
			return err
		})
		on := w.cut(t) // a machine without power sends no resets
		release := keepDown(t, c.nodeFile(w, "lock"), c.agent(w))
		killAll(t, func() []process {
			var out []process
			for _, p := range c.onWorker(w) {
				if !p.has("node") {
					out = append(out, p)
				}
			}
			return out
		})
		return func() {
			on()
			release()
		}, func(ctx context.Context) error { return podReady(ctx, k, w, was) }
	}},
	{name: "worker cut off from the network", onWorker: func(t *testing.T, _ *skiffCluster, _ kubernetes.Interface, w *worker) (func(), func(context.Context) error) {
		return w.cut(t), func(context.Context) error { return nil }
	}},
	{name: "containerd killed", instant: true, onWorker: func(t *testing.T, c *skiffCluster, _ kubernetes.Interface, w *worker) (func(), func(context.Context) error) {
		was := c.containerd(w)
		if len(was) != 1 {
			t.Fatalf("%s has %d processes of containerd", w.name, len(was))
		}
		if err := unix.Kill(was[0].PID, unix.SIGKILL); err != nil {
			t.Fatal(err)
		}
		return func() {}, func(context.Context) error {
			if now := c.containerd(w); len(now) != 1 || now[0].PID == was[0].PID {
				return fmt.Errorf("containerd of %s: %v, was %v", w.name, now, was)
			}
			return nil
		}
	}},
}

// jumped is a trouble of the whole machine: its clock is not that of a
// namespace, and others who use the machine see it jump as well.
var jumped = trouble{name: "clock jumped", onAll: func(t *testing.T) func() {
	begin := time.Now()
	set := func(to time.Time) {
		ts := unix.NsecToTimespec(to.UnixNano())
		if err := unix.ClockSettime(unix.CLOCK_REALTIME, &ts); err != nil {
			t.Fatalf("set the machine's clock: %v", err)
		}
	}
	back := func() { set(begin.Add(time.Since(begin))) } // by the monotonic clock
	healed := false
	t.Cleanup(func() {
		if !healed {
			back()
		}
	})
	set(begin.Add(*chaosClock))
	return func() {
		back()
		healed = true
	}
}}

// agent finds the process of a worker's node.
func (c *skiffCluster) agent(w *worker) func() []process {
	return func() []process {
		return processes(func(p process) bool { return p.has("node") && p.has(c.nodeFile(w, "node.json")) })
	}
}

// master finds the process of a master.
func (c *skiffCluster) master(m *master) func() []process {
	return func() []process {
		return processes(func(p process) bool { return p.has("server") && p.has(c.masterDir(m)) })
	}
}

func (c *skiffCluster) containerd(w *worker) []process {
	var out []process
	for _, p := range c.onWorker(w) {
		if p.program() == "containerd" {
			out = append(out, p)
		}
	}
	return out
}

// happening is a trouble that has begun.
type happening struct {
	what   string
	worker *worker // whose connections may be lost
	kills  bool    // some are
	heal   func()
	well   func(context.Context) error
}

// begin lets a trouble happen to whom chance chooses, or, of masters, to the one
// that leads: the worst case.
func (x trouble) begin(t *testing.T, c *skiffCluster, k kubernetes.Interface, random *rand.Rand, worst bool) happening {
	t.Helper()
	fine := func(context.Context) error { return nil }
	switch {
	case x.onAll != nil:
		return happening{what: x.name, heal: x.onAll(t), well: fine}
	case x.onWorker != nil:
		w := c.workers[random.IntN(len(c.workers))]
		heal, well := x.onWorker(t, c, k, w)
		return happening{x.name + " (" + w.name + ")", w, x.kills, heal, well}
	}
	m := c.masters[random.IntN(len(c.masters))]
	if worst {
		m = c.leading(t, k)
	}
	return happening{what: x.name + " (" + m.name + ")", heal: x.onMaster(t, c, m), well: fine}
}

// well waits until nothing of a trouble is left: masters serve, nodes are ready,
// pods run and every connection has been answered since.
func (c *skiffCluster) well(t *testing.T, k kubernetes.Interface, f *flows, h happening) {
	t.Helper()
	healed := time.Now()
	eventually(t, "all is well after "+h.what, func(ctx context.Context) error {
		var errs []error
		for _, m := range c.masters {
			errs = append(errs, c.isReady(ctx, m))
		}
		for _, w := range c.workers {
			errs = append(errs, nodeReady(ctx, k, w), podReady(ctx, k, w, ""))
		}
		return errors.Join(append(errs, h.well(ctx), f.well(healed))...)
	})
}
