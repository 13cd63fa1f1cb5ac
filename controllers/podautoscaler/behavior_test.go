package podautoscaler

import (
	"math"
	"testing"
	"time"

	autoscalingv2 "k8s.io/api/autoscaling/v2"
	"k8s.io/utils/ptr"
)

func ago(d time.Duration) time.Time { return epoch.Add(-d) }

func rules(window int32, choice autoscalingv2.ScalingPolicySelect, policies ...autoscalingv2.HPAScalingPolicy) *autoscalingv2.HPAScalingRules {
	return &autoscalingv2.HPAScalingRules{StabilizationWindowSeconds: &window, SelectPolicy: &choice, Policies: policies}
}

func byPods(n, seconds int32) autoscalingv2.HPAScalingPolicy {
	return autoscalingv2.HPAScalingPolicy{Type: autoscalingv2.PodsScalingPolicy, Value: n, PeriodSeconds: seconds}
}

func byPercent(n, seconds int32) autoscalingv2.HPAScalingPolicy {
	return autoscalingv2.HPAScalingPolicy{Type: autoscalingv2.PercentScalingPolicy, Value: n, PeriodSeconds: seconds}
}

func TestPlanStable(t *testing.T) {
	calm := &autoscalingv2.HorizontalPodAutoscalerBehavior{
		ScaleUp:   rules(60, autoscalingv2.MaxChangePolicySelect, byPods(100, 15)),
		ScaleDown: rules(120, autoscalingv2.MaxChangePolicySelect, byPods(100, 15)),
	}
	for _, c := range []struct {
		name     string
		behavior *autoscalingv2.HorizontalPodAutoscalerBehavior
		recent   []recommendation
		current  int32
		wish     int32
		want     int32
		why      told
	}{
		{"an increase is not held back", nil, []recommendation{{ago(time.Minute), 2}}, 3, 8, 8, readyForNew},
		{"a decrease waits five minutes for higher ones", nil, []recommendation{{ago(time.Minute), 6}, {ago(6 * time.Minute), 20}}, 8, 2, 6, stabilizedDown},
		{"but raises nothing", nil, []recommendation{{ago(time.Minute), 20}}, 8, 2, 8, stabilizedDown},
		{"after that it goes", nil, []recommendation{{ago(6 * time.Minute), 20}}, 8, 2, 2, readyForNew},
		{"an increase may be held back too", calm, []recommendation{{ago(30 * time.Second), 4}}, 3, 8, 4, stabilizedUp},
		{"for as long as is said", calm, []recommendation{{ago(61 * time.Second), 4}}, 3, 8, 8, readyForNew},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got, why := planStable(c.behavior, c.recent, c.current, c.wish, epoch); got != c.want || why != c.why {
				t.Errorf("%d, %s; want %d, %s", got, why.reason, c.want, c.why.reason)
			}
		})
	}
}

func TestPlanLimits(t *testing.T) {
	behavior := func(up, down *autoscalingv2.HPAScalingRules) *autoscalingv2.HorizontalPodAutoscalerBehavior {
		if up == nil {
			up = rules(0, autoscalingv2.MaxChangePolicySelect, byPercent(900, 15))
		}
		if down == nil {
			down = rules(0, autoscalingv2.MaxChangePolicySelect, byPercent(100, 15))
		}
		return &autoscalingv2.HorizontalPodAutoscalerBehavior{ScaleUp: up, ScaleDown: down}
	}
	for _, c := range []struct {
		name          string
		behavior      *autoscalingv2.HorizontalPodAutoscalerBehavior
		recent        []scaling
		current, wish int32
		want          int32
		why           told
	}{
		{"a wish between the ends", nil, nil, 5, 7, 7, withinRange},
		{"more than the most", nil, nil, 60, 200, 100, tooMany},
		{"fewer than the least", nil, nil, 5, 1, 2, tooFew},
		{"more than twice as many", nil, nil, 5, 50, 10, tooFast},
		{"from few to four at once", nil, nil, 1, 50, 4, tooFast},
		{"so many pods at a time", behavior(rules(0, autoscalingv2.MaxChangePolicySelect, byPods(3, 60)), nil), nil, 5, 50, 8, tooFast},
		{"less what was added in the period", behavior(rules(0, autoscalingv2.MaxChangePolicySelect, byPods(3, 60)), nil), []scaling{{ago(30 * time.Second), 2}, {ago(2 * time.Minute), 9}}, 7, 50, 8, tooFast},
		{"the most of the policies", behavior(rules(0, autoscalingv2.MaxChangePolicySelect, byPods(3, 60), byPercent(100, 60)), nil), nil, 5, 50, 10, tooFast},
		{"the least of the policies", behavior(rules(0, autoscalingv2.MinChangePolicySelect, byPods(3, 60), byPercent(100, 60)), nil), nil, 5, 50, 8, tooFast},
		{"no increase at all", behavior(rules(0, autoscalingv2.DisabledPolicySelect, byPods(3, 60)), nil), nil, 5, 50, 5, tooFast},
		{"so many fewer at a time", behavior(nil, rules(0, autoscalingv2.MaxChangePolicySelect, byPods(3, 60))), nil, 20, 2, 17, tooFastDown},
		{"less what went in the period", behavior(nil, rules(0, autoscalingv2.MaxChangePolicySelect, byPods(3, 60))), []scaling{{ago(30 * time.Second), -2}}, 18, 2, 17, tooFastDown},
		{"the largest decrease of the policies", behavior(nil, rules(0, autoscalingv2.MaxChangePolicySelect, byPods(3, 60), byPercent(50, 60))), nil, 20, 2, 10, tooFastDown},
		{"the smallest decrease of the policies", behavior(nil, rules(0, autoscalingv2.MinChangePolicySelect, byPods(3, 60), byPercent(50, 60))), nil, 20, 2, 17, tooFastDown},
		{"no decrease at all", behavior(nil, rules(0, autoscalingv2.DisabledPolicySelect, byPods(3, 60))), nil, 20, 2, 20, tooFastDown},
	} {
		t.Run(c.name, func(t *testing.T) {
			spec := &autoscalingv2.HorizontalPodAutoscalerSpec{MaxReplicas: 100, Behavior: c.behavior}
			if got, why := planLimits(spec, 2, c.recent, c.current, c.wish, epoch); got != c.want || why != c.why {
				t.Errorf("%d, %s; want %d, %s", got, why.reason, c.want, c.why.reason)
			}
		})
	}
	if got := upLimit(nil, nil, math.MaxInt32, epoch); got < math.MaxInt32-1 {
		t.Errorf("the limit of very many is %d", got)
	}
}

func TestForget(t *testing.T) {
	m := &memory{
		recommendations: []recommendation{{ago(4 * time.Minute), 1}, {ago(6 * time.Minute), 2}},
		scalings:        []scaling{{ago(time.Minute), 1}, {ago(time.Hour), 2}},
	}
	m.forget(nil, epoch)
	if len(m.recommendations) != 1 || len(m.scalings) != 1 {
		t.Errorf("remembers %+v", m)
	}
	m.forget(&autoscalingv2.HorizontalPodAutoscalerBehavior{ScaleDown: &autoscalingv2.HPAScalingRules{StabilizationWindowSeconds: ptr.To[int32](0)}}, epoch)
	if len(m.recommendations) != 0 {
		t.Errorf("remembers %+v", m.recommendations)
	}
}
