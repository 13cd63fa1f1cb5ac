package podautoscaler

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/skiffcluster/skiff/controllers/podctl"
)

// How long after its start a pod's use of CPU says little, and how soon after
// its start a pod that is not ready has never been so (upstream's
// --horizontal-pod-autoscaler-cpu-initialization-period and
// --horizontal-pod-autoscaler-initial-readiness-delay).
const (
	initialization = 5 * time.Minute
	readinessDelay = 30 * time.Second
)

// tolerances are how far from 1 a ratio may be without anything being done.
type tolerances struct{ down, up float64 }

func (t tolerances) covers(ratio float64) bool { return 1-t.down <= ratio && ratio <= 1+t.up }

// groups sorts an autoscaler's pods by what their metrics are worth.
type groups struct {
	ready                     int
	unready, missing, ignored []string
}

// planGroups sorts pods: those on their way out are ignored, those that wait or
// begin are unready, and those without a sample are missing.
func planGroups(pods []*corev1.Pod, measured samples, resource corev1.ResourceName, now time.Time) groups {
	var g groups
	for _, pod := range pods {
		s, ok := measured[pod.Name]
		switch {
		case pod.DeletionTimestamp != nil || pod.Status.Phase == corev1.PodFailed:
			g.ignored = append(g.ignored, pod.Name)
		case pod.Status.Phase == corev1.PodPending:
			g.unready = append(g.unready, pod.Name)
		case !ok:
			g.missing = append(g.missing, pod.Name)
		case resource == corev1.ResourceCPU && isBeginning(pod, s, now):
			g.unready = append(g.unready, pod.Name)
		default:
			g.ready++
		}
	}
	return g
}

// isBeginning tells whether a pod's use of CPU is that of its start.
func isBeginning(pod *corev1.Pod, s sample, now time.Time) bool {
	ready := podctl.Condition(pod, corev1.PodReady)
	if ready.Type == "" || pod.Status.StartTime == nil {
		return true
	}
	isUnready, since := ready.Status == corev1.ConditionFalse, ready.LastTransitionTime.Time
	if pod.Status.StartTime.Add(initialization).After(now) {
		// The sample must be one of after the last change.
		return isUnready || s.at.Before(since.Add(s.window))
	}
	return isUnready && pod.Status.StartTime.Add(readinessDelay).After(since)
}

func without(measured samples, names ...[]string) samples {
	left := samples{}
	for name, s := range measured {
		if !slices.ContainsFunc(names, func(list []string) bool { return slices.Contains(list, name) }) {
			left[name] = s
		}
	}
	return left
}

// aim compares samples with what they should be.
type aim struct {
	// ratio is 1 where they fit, and more where they are too high.
	ratio func(samples) (float64, error)
	// high is what a pod without a sample is taken to use when the others use
	// less than they should; when they use more it is taken to use nothing.
	high func(pod string) int64
}

var errUnready = errors.New("did not receive metrics for targeted pods (pods might be unready)")

// planReplicas says how many pods would use what they should. Pods without a
// sample, or that begin, are taken to use what changes the least.
func planReplicas(current int32, pods []*corev1.Pod, measured samples, resource corev1.ResourceName, to aim, tolerate tolerances, now time.Time) (int32, error) {
	if len(pods) == 0 {
		return 0, errors.New("no pods returned by selector while calculating replica count")
	}
	g := planGroups(pods, measured, resource, now)
	measured = without(measured, g.unready, g.ignored)
	if len(measured) == 0 {
		return 0, errUnready
	}
	ratio, err := to.ratio(measured)
	if err != nil {
		return 0, err
	}
	countUnready := len(g.unready) > 0 && ratio > 1
	if !countUnready && len(g.missing) == 0 {
		if tolerate.covers(ratio) {
			return current, nil
		}
		return ceil(ratio * float64(g.ready)), nil
	}
	for _, pod := range g.missing {
		if ratio < 1 {
			measured[pod] = sample{value: to.high(pod)}
		} else if ratio > 1 {
			measured[pod] = sample{}
		}
	}
	if countUnready {
		for _, pod := range g.unready {
			measured[pod] = sample{}
		}
	}
	adjusted, err := to.ratio(measured)
	if err != nil {
		return 0, err
	}
	if tolerate.covers(adjusted) || (ratio < 1 && adjusted > 1) || (ratio > 1 && adjusted < 1) {
		return current, nil
	}
	replicas := ceil(adjusted * float64(len(measured)))
	if (adjusted < 1 && replicas > current) || (adjusted > 1 && replicas < current) {
		return current, nil // what is not known must not turn the direction
	}
	return replicas, nil
}

// ceil rounds up to a number of replicas.
func ceil(f float64) int32 {
	if f > math.MaxInt32 {
		return math.MaxInt32
	}
	return int32(math.Ceil(f))
}

// averageAim aims at an average, in thousandths.
func averageAim(target int64) aim {
	return aim{
		ratio: func(s samples) (float64, error) { return float64(average(s)) / float64(target), nil },
		high:  func(string) int64 { return target },
	}
}

func average(measured samples) int64 {
	if len(measured) == 0 {
		return 0
	}
	var sum int64
	for _, s := range measured {
		sum += s.value
	}
	return sum / int64(len(measured))
}

// utilizationAim aims at a share of what pods request, percent. requests are in
// thousandths, by pod.
func utilizationAim(target int32, requests map[string]int64) aim {
	return aim{
		ratio: func(s samples) (float64, error) {
			percent, err := utilization(s, requests)
			return float64(percent) / float64(target), err
		},
		high: func(pod string) int64 { return requests[pod] * int64(max(100, target)) / 100 },
	}
}

// utilization is what pods use of what they request, percent.
func utilization(measured samples, requests map[string]int64) (int32, error) {
	var used, requested int64
	for pod, s := range measured {
		if request, known := requests[pod]; known {
			used += s.value
			requested += request
		}
	}
	if requested == 0 {
		return 0, errors.New("no metrics returned matched known pods")
	}
	return int32(used * 100 / requested), nil
}

// requestsOf are what pods, or one container of each, request.
func requestsOf(pods []*corev1.Pod, resource corev1.ResourceName, container string) (map[string]int64, error) {
	requests := map[string]int64{}
	for _, pod := range pods {
		if r := pod.Spec.Resources; r != nil && container == "" {
			if request, ok := r.Requests[resource]; ok {
				requests[pod.Name] = request.MilliValue()
				continue
			}
		}
		var sum int64
		containers := slices.Clone(pod.Spec.Containers)
		for i := range pod.Spec.InitContainers {
			if p := pod.Spec.InitContainers[i].RestartPolicy; p != nil && *p == corev1.ContainerRestartPolicyAlways {
				containers = append(containers, pod.Spec.InitContainers[i])
			}
		}
		for i := range containers {
			if container != "" && containers[i].Name != container {
				continue
			}
			request, ok := containers[i].Resources.Requests[resource]
			if !ok {
				return nil, fmt.Errorf("missing request for %s in container %s of Pod %s", resource, containers[i].Name, pod.Name)
			}
			sum += request.MilliValue()
		}
		requests[pod.Name] = sum
	}
	return requests, nil
}
