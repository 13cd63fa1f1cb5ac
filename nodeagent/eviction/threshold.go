package eviction

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
)

// Signal is a resource that runs out.
type Signal string

// The signals, as the kubelet's flags name them.
const (
	MemoryAvailable   Signal = "memory.available"
	NodeFsAvailable   Signal = "nodefs.available"
	NodeFsInodesFree  Signal = "nodefs.inodesFree"
	ImageFsAvailable  Signal = "imagefs.available"
	ImageFsInodesFree Signal = "imagefs.inodesFree"
	PIDAvailable      Signal = "pid.available"
)

// DefaultHard are kubelet's own, but for the disk: kubelet's 10 % and 15 % have
// a laptop or a CI machine, whose disk holds much else, evict all its pods while
// tens of gigabytes are free. 5 % is k3s's figure.
func DefaultHard() map[Signal]string {
	return map[Signal]string{
		MemoryAvailable:   "100Mi",
		NodeFsAvailable:   "5%",
		NodeFsInodesFree:  "5%",
		ImageFsAvailable:  "5%",
		ImageFsInodesFree: "5%",
	}
}

// Observation is how much is there of a resource: bytes, inodes or PIDs.
type Observation struct{ Available, Capacity uint64 }

// Observations by signal. One that can't be observed is missing.
type Observations map[Signal]Observation

// condition of the node that a signal makes.
func (s Signal) condition() corev1.NodeConditionType {
	switch s {
	case MemoryAvailable:
		return corev1.NodeMemoryPressure
	case PIDAvailable:
		return corev1.NodePIDPressure
	}
	return corev1.NodeDiskPressure
}

// resource is what messages call it.
func (s Signal) resource() string {
	switch s {
	case MemoryAvailable:
		return "memory"
	case PIDAvailable:
		return "pids"
	case NodeFsInodesFree, ImageFsInodesFree:
		return "inodes"
	}
	return "ephemeral-storage"
}

// format prints an amount of the signal's resource.
func (s Signal) format(amount uint64) string {
	format := resource.BinarySI
	if r := s.resource(); r == "inodes" || r == "pids" {
		format = resource.DecimalSI
	}
	return resource.NewQuantity(int64(amount), format).String()
}

// threshold is the least that must be available.
type threshold struct {
	signal  Signal
	amount  uint64
	percent float64 // of the capacity, if amount is not set
}

func parseThreshold(signal Signal, text string) (threshold, error) {
	t := threshold{signal: signal}
	known := []Signal{MemoryAvailable, NodeFsAvailable, NodeFsInodesFree, ImageFsAvailable, ImageFsInodesFree, PIDAvailable}
	if !slices.Contains(known, signal) {
		return t, fmt.Errorf("eviction threshold %s: unsupported signal", signal)
	}
	if number, ok := strings.CutSuffix(text, "%"); ok {
		percent, err := strconv.ParseFloat(number, 64)
		if err != nil || percent < 0 || percent > 100 {
			return t, fmt.Errorf("eviction threshold %s: %q is not a percentage from 0%% to 100%%", signal, text)
		}
		t.percent = percent
		return t, nil
	}
	quantity, err := resource.ParseQuantity(text)
	if err != nil {
		return t, fmt.Errorf("eviction threshold %s: %q: %w", signal, text, err)
	}
	if quantity.Sign() < 0 {
		return t, fmt.Errorf("eviction threshold %s: %q must not be negative", signal, text)
	}
	t.amount = uint64(quantity.Value())
	return t, nil
}

// least is the amount below which the threshold is met.
func (t threshold) least(capacity uint64) uint64 {
	if t.amount != 0 {
		return t.amount
	}
	return uint64(float64(capacity) * t.percent / 100)
}

// metThresholds gives the thresholds that are met, memory first, since it runs
// out fastest.
func metThresholds(all []threshold, seen Observations) []threshold {
	var met []threshold
	for _, t := range all {
		if o, ok := seen[t.signal]; ok && o.Available < t.least(o.Capacity) {
			met = append(met, t)
		}
	}
	slices.SortStableFunc(met, func(a, b threshold) int { return urgency(a.signal) - urgency(b.signal) })
	return met
}

func urgency(s Signal) int {
	if s == MemoryAvailable {
		return 0
	}
	return 1
}
