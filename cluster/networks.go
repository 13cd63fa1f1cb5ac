package cluster

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// networks reads a list of one network, or of one for each IP family; the first
// is the family that is meant where nothing is said
// (https://kubernetes.io/docs/concepts/services-networking/dual-stack/).
func networks(flag, list string) ([]netip.Prefix, error) {
	var out []netip.Prefix
	for text := range strings.SplitSeq(list, ",") {
		p, err := netip.ParsePrefix(text)
		if err != nil {
			return nil, fmt.Errorf("--%s %q is not a network such as 10.244.0.0/16", flag, text)
		}
		out = append(out, p.Masked())
	}
	if len(out) > 2 || len(out) == 2 && out[0].Addr().Is4() == out[1].Addr().Is4() {
		return nil, fmt.Errorf("--%s %s: there is one network, or one for each of IPv4 and IPv6", flag, list)
	}
	return out, nil
}

// prefixes reads such a list that was validated.
func prefixes(list string) []netip.Prefix {
	out, err := networks("", list)
	if err != nil {
		return nil
	}
	return out
}

// first is the network of the first family.
func first(flag, list string) (netip.Prefix, error) {
	all, err := networks(flag, list)
	if err != nil {
		return netip.Prefix{}, err
	}
	return all[0], nil
}

// checkNetworks says why pods and services can't have these addresses.
func checkNetworks(podList, serviceList string) error {
	pods, err := networks("cluster-cidr", podList)
	if err != nil {
		return err
	}
	services, err := networks("service-cluster-ip-range", serviceList)
	if err != nil {
		return err
	}
	for _, p := range pods {
		if i := slices.IndexFunc(services, p.Overlaps); i >= 0 {
			return fmt.Errorf("--cluster-cidr %s and --service-cluster-ip-range %s overlap: pods and services need addresses of their own", p, services[i])
		}
	}
	for _, s := range services {
		if !slices.ContainsFunc(pods, func(p netip.Prefix) bool { return p.Addr().Is4() == s.Addr().Is4() }) {
			return fmt.Errorf("--service-cluster-ip-range %s: no pod has an address of that family, which --cluster-cidr %s gives", s, podList)
		}
	}
	return nil
}

var errNoAddress = errors.New("this machine has no address of that family")

// NodeAddresses are this machine's own, one for each family of the pods'
// networks and in their order, separated by a comma. A family that the machine
// lacks is left out; the first is needed.
func NodeAddresses(clusterCIDR string) (string, error) {
	var out []string
	for i, p := range prefixes(clusterCIDR) {
		ip := ownAddress(p.Addr().Is6())
		if ip == nil && i == 0 {
			return "", fmt.Errorf("--cluster-cidr %s: %w; --node-ip names one", p, errNoAddress)
		}
		if ip != nil {
			out = append(out, ip.String())
		}
	}
	return strings.Join(out, ","), nil
}
