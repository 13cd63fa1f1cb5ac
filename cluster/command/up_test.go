package command

import (
	"net"
	"path/filepath"
	"testing"
)

func TestUpIsReachedByTheAddressThatIsGiven(t *testing.T) {
	for _, c := range []struct {
		name, advertise, want string
	}{
		{"one that is given", "198.51.100.7", "198.51.100.7"},
		{"the one that it is bound to", "", "192.0.2.2"},
	} {
		t.Run(c.name, func(t *testing.T) {
			o := upOptions{
				bindAddress: "192.0.2.2", advertise: net.ParseIP(c.advertise), nodes: 1, masters: 1, networks: 1, runtime: "simulated",
				clusterCIDR: "10.244.0.0/16", serviceCIDR: "10.96.0.0/12", identity: func() {}, admission: func() {},
			}
			got, err := o.config(profile{"here", filepath.Join(t.TempDir(), "here")})
			if err != nil {
				t.Fatal(err)
			}
			if a := got.APIServer.AdvertiseAddress.String(); a != c.want {
				t.Errorf("%s, not %s", a, c.want)
			}
		})
	}
}
