package command

import (
	"slices"
	"strings"
	"testing"
	"time"
)

const goodToken = "abcdef.0123456789abcdef.5d34992dae1625f9cf1d3f513e8b6b0778785149a3a08a81440aef8debe560d1"

func TestReadToken(t *testing.T) {
	file := func(name string) ([]byte, error) { return []byte(goodToken + "\n"), nil }
	for _, c := range []struct{ name, flag, want string }{
		{"a whole token", goodToken, ""},
		{"one in a file", "@/run/token", ""},
		{"none", "", "--token is needed"},
		{"one without the CA's hash", "abcdef.0123456789abcdef", "has no hash of the cluster's CA"},
		{"one with a short hash", "abcdef.0123456789abcdef.5d34", "has no hash of the cluster's CA"},
		{"something else", "hello", "not of the form id.secret.hash"},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := readToken(c.flag, file)
			switch {
			case c.want == "" && (err != nil || got.String() != goodToken):
				t.Errorf("%s %v", got, err)
			case c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)):
				t.Errorf("%v, want %q", err, c.want)
			}
		})
	}
}

func TestNodeMarks(t *testing.T) {
	marks, taints, err := nodeMarks("a=b,c=d", "gpu=yes:NoSchedule,old:NoExecute")
	if err != nil || marks["a"] != "b" || marks["c"] != "d" || len(taints) != 2 || taints[0].Value != "yes" || taints[1].Key != "old" {
		t.Errorf("%v %v %v", marks, taints, err)
	}
	for _, bad := range []string{"gpu", "gpu=yes:Sometimes", ":NoSchedule"} {
		if _, _, err := nodeMarks("", bad); err == nil {
			t.Errorf("%q is taken", bad)
		}
	}
}

func TestNodeIP(t *testing.T) {
	for _, good := range []string{"", "192.0.2.1", "2001:db8::1", "192.0.2.1,2001:db8::1", "2001:db8::1,192.0.2.1"} {
		if err := checkNodeIP(good); err != nil {
			t.Errorf("%q: %v", good, err)
		}
	}
	for bad, want := range map[string]string{
		"here": `--node-ip "here" is not an IP address`, "192.0.2.1,": `--node-ip "" is not an IP address`,
		"192.0.2.1,192.0.2.2":             "one of each of IPv4 and IPv6",
		"192.0.2.1,2001:db8::1,192.0.2.2": "one of each of IPv4 and IPv6",
	} {
		if err := checkNodeIP(bad); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", bad, err, want)
		}
	}
}

// A flag of `skiff up` that says what a server does holds for all masters.
func TestFurtherMastersHaveTheSameFlags(t *testing.T) {
	up := newUp().Flags()
	for name, value := range map[string]string{"cluster-cidr": "10.1.0.0/16", "nodes": "3", "profile": "x", "runtime": "simulated", "api-audiences": "a,b"} {
		if err := up.Set(name, value); err != nil {
			t.Fatal(err)
		}
	}
	got := serverFlags(up)
	slices.Sort(got)
	if want := []string{"--api-audiences=a", "--api-audiences=b", "--cluster-cidr=10.1.0.0/16"}; !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
}

func TestBothFlag(t *testing.T) {
	var a, b time.Duration
	v := both{&a, &b}
	if err := v.Set("3s"); err != nil || a != 3*time.Second || b != a || v.String() != "3s" {
		t.Errorf("%s %s %v", a, b, err)
	}
	if err := v.Set("soon"); err == nil {
		t.Error("soon is no duration")
	}
}
