package command

import (
	"net"
	"reflect"
	"testing"

	"github.com/skiffcluster/skiff/cluster"
)

func TestSeatsStay(t *testing.T) {
	p := profile{"p", t.TempDir()}
	config := cluster.Config{DataDir: p.dir, Nodes: []cluster.Node{{Simulated: true}}}
	config.APIServer.AdvertiseAddress = net.IPv4(127, 0, 0, 1)
	open := func(n int) ([]seat, error) {
		m, err := openMasters(p, n, config, nil)
		if err != nil {
			return nil, err
		}
		return m.seats, nil
	}
	if alone, err := open(1); err != nil || len(alone) != 1 {
		t.Fatalf("one master: %v, %v", alone, err)
	}
	three, err := open(3)
	if err != nil || len(three) != 3 {
		t.Fatalf("three masters: %v, %v", three, err)
	}
	for _, n := range []int{3, 1} {
		if again, err := open(n); err != nil || !reflect.DeepEqual(again, three) {
			t.Errorf("--masters %d: %v, %v, want the seats %v that there are", n, again, err, three)
		}
	}
	if _, err := open(2); err == nil {
		t.Error("two of three masters are taken for all")
	}
	four, err := open(4)
	if err != nil || len(four) != 4 || !reflect.DeepEqual(four[:3], three) {
		t.Errorf("a fourth master: %v, %v, want it beside %v", four, err, three)
	}
}
