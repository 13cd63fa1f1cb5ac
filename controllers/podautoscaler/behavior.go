package podautoscaler

import (
	"math"
	"time"

	autoscalingv2 "k8s.io/api/autoscaling/v2"
	"k8s.io/utils/ptr"
)

// stabilization is how long a recommendation keeps the replicas from going
// below it, where no behavior says so (upstream's
// --horizontal-pod-autoscaler-downscale-stabilization).
const stabilization = 5 * time.Minute

// recommendation is what a turn found right.
type recommendation struct {
	at       time.Time
	replicas int32
}

// scaling is a change of the scale: how many pods more (or fewer).
type scaling struct {
	at    time.Time
	delta int32
}

// memory is what is remembered of one autoscaler.
type memory struct {
	recommendations []recommendation
	scalings        []scaling
}

// told is a reason with its message, for a condition.
type told struct{ reason, message string }

var (
	withinRange = told{"DesiredWithinRange", "the desired count is within the acceptable range"}
	tooMany     = told{"TooManyReplicas", "the desired replica count is more than the maximum replica count"}
	tooFew      = told{"TooFewReplicas", "the desired replica count is less than the minimum replica count"}
	tooFast     = told{"ScaleUpLimit", "the desired replica count is increasing faster than the maximum scale rate"}
	tooFastDown = told{"ScaleDownLimit", "the desired replica count is decreasing faster than the maximum scale rate"}

	readyForNew    = told{"ReadyForNewScale", "recommended size matches current size"}
	stabilizedUp   = told{"ScaleUpStabilized", "recent recommendations were lower than current one, applying the lowest recent recommendation"}
	stabilizedDown = told{"ScaleDownStabilized", "recent recommendations were higher than current one, applying the highest recent recommendation"}
)

// windows are for how long recommendations hold back an increase and a decrease.
func windows(behavior *autoscalingv2.HorizontalPodAutoscalerBehavior) (up, down time.Duration) {
	down = stabilization
	if behavior == nil {
		return 0, down
	}
	seconds := func(rules *autoscalingv2.HPAScalingRules, otherwise time.Duration) time.Duration {
		if rules == nil || rules.StabilizationWindowSeconds == nil {
			return otherwise
		}
		return time.Duration(*rules.StabilizationWindowSeconds) * time.Second
	}
	return seconds(behavior.ScaleUp, 0), seconds(behavior.ScaleDown, down)
}

// planStable holds a wish against recent ones: an increase goes to the lowest of
// them at most, a decrease to the highest at least.
func planStable(behavior *autoscalingv2.HorizontalPodAutoscalerBehavior, recent []recommendation, current, wish int32, now time.Time) (int32, told) {
	up, down := windows(behavior)
	lowest, highest := wish, wish
	for _, r := range recent {
		age := now.Sub(r.at)
		if age < up {
			lowest = min(lowest, r.replicas)
		}
		if age < down {
			highest = max(highest, r.replicas)
		}
	}
	stable := min(max(current, lowest), highest)
	switch {
	case stable == wish:
		return stable, readyForNew
	case wish >= current && behavior != nil:
		return stable, stabilizedUp
	}
	return stable, stabilizedDown
}

// planLimits holds a wish within the least and the most replicas, and within
// what policies allow at a time.
func planLimits(spec *autoscalingv2.HorizontalPodAutoscalerSpec, least int32, recent []scaling, current, wish int32, now time.Time) (int32, told) {
	most, why := spec.MaxReplicas, tooMany
	if limit := upLimit(spec.Behavior, recent, current, now); limit < most {
		most, why = limit, tooFast
	}
	if wish > most && (wish > current || spec.Behavior == nil) {
		return most, why
	}
	floor, why := least, tooFew
	if spec.Behavior != nil {
		if limit := downLimit(spec.Behavior.ScaleDown, recent, current, now); limit > floor {
			floor, why = limit, tooFastDown
		}
	}
	if wish < floor && (wish < current || spec.Behavior == nil) {
		return floor, why
	}
	return wish, withinRange
}

// upLimit is the most replicas to go to. Without a behavior it is twice what
// there is, or four.
func upLimit(behavior *autoscalingv2.HorizontalPodAutoscalerBehavior, recent []scaling, current int32, now time.Time) int32 {
	if behavior == nil {
		return max(4, min(current, math.MaxInt32/2)*2)
	}
	limit, ok := byPolicies(behavior.ScaleUp, recent, current, now, func(start, value int32, isPercent bool) int32 {
		if isPercent {
			return ceil(float64(start) * (1 + float64(value)/100))
		}
		return start + value
	}, true)
	if !ok {
		return math.MaxInt32
	}
	return max(limit, current)
}

// downLimit is the least replicas to go to.
func downLimit(rules *autoscalingv2.HPAScalingRules, recent []scaling, current int32, now time.Time) int32 {
	limit, ok := byPolicies(rules, recent, current, now, func(start, value int32, isPercent bool) int32 {
		if isPercent {
			return int32(float64(start) * (1 - float64(value)/100))
		}
		return start - value
	}, false)
	if !ok {
		return 0
	}
	return min(limit, current)
}

// byPolicies applies each policy to what there was at the start of its period,
// and chooses among the results; not ok without rules.
func byPolicies(rules *autoscalingv2.HPAScalingRules, recent []scaling, current int32, now time.Time, apply func(start, value int32, isPercent bool) int32, isUp bool) (limit int32, ok bool) {
	if rules == nil {
		return 0, false
	}
	choice := ptr.Deref(rules.SelectPolicy, autoscalingv2.MaxChangePolicySelect)
	if choice == autoscalingv2.DisabledPolicySelect {
		return current, true
	}
	// The largest change is the most replicas on the way up, the least on the
	// way down.
	wantsMost := (choice == autoscalingv2.MaxChangePolicySelect) == isUp
	for _, policy := range rules.Policies {
		start := current
		for _, s := range recent {
			if now.Sub(s.at) < time.Duration(policy.PeriodSeconds)*time.Second {
				start -= s.delta
			}
		}
		result := apply(start, policy.Value, policy.Type == autoscalingv2.PercentScalingPolicy)
		switch {
		case !ok:
			limit, ok = result, true
		case wantsMost:
			limit = max(limit, result)
		default:
			limit = min(limit, result)
		}
	}
	return limit, ok
}

// forget drops what no window or policy looks at any more.
func (m *memory) forget(behavior *autoscalingv2.HorizontalPodAutoscalerBehavior, now time.Time) {
	up, down := windows(behavior)
	keep := max(up, down)
	recommendations := m.recommendations[:0]
	for _, r := range m.recommendations {
		if now.Sub(r.at) < keep {
			recommendations = append(recommendations, r)
		}
	}
	m.recommendations = recommendations
	scalings := m.scalings[:0]
	for _, s := range m.scalings {
		if now.Sub(s.at) < longestPeriod {
			scalings = append(scalings, s)
		}
	}
	m.scalings = scalings
}

// longestPeriod is the longest period of a policy that the API admits.
const longestPeriod = 30 * time.Minute

// toleranceOf is how far a ratio may be from 1 (default a tenth, upstream's
// --horizontal-pod-autoscaler-tolerance).
func toleranceOf(behavior *autoscalingv2.HorizontalPodAutoscalerBehavior) tolerances {
	t := tolerances{down: 0.1, up: 0.1}
	if behavior == nil {
		return t
	}
	if r := behavior.ScaleUp; r != nil && r.Tolerance != nil {
		t.up = r.Tolerance.AsApproximateFloat64()
	}
	if r := behavior.ScaleDown; r != nil && r.Tolerance != nil {
		t.down = r.Tolerance.AsApproximateFloat64()
	}
	return t
}
