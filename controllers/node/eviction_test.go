package node

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/utils/ptr"
)

func TestEvictAt(t *testing.T) {
	unreachable := corev1.Taint{Key: corev1.TaintNodeUnreachable, Effect: corev1.TaintEffectNoExecute}
	gpu := corev1.Taint{Key: "gpu", Value: "broken", Effect: corev1.TaintEffectNoExecute}
	tolerate := func(key string, seconds *int64) corev1.Toleration {
		return corev1.Toleration{Key: key, Operator: corev1.TolerationOpExists, Effect: corev1.TaintEffectNoExecute, TolerationSeconds: seconds}
	}
	for _, c := range []struct {
		name        string
		tolerations []corev1.Toleration
		running     clocks
		want        int // seconds; -1: never
	}{
		{"a pod that tolerates nothing goes at once", nil, clocks{unreachable: at(0)}, 0},
		{"the default toleration is five minutes", []corev1.Toleration{tolerate(corev1.TaintNodeUnreachable, ptr.To[int64](300))}, clocks{unreachable: at(0)}, 300},
		{"a toleration without an end is for ever", []corev1.Toleration{tolerate(corev1.TaintNodeUnreachable, nil)}, clocks{unreachable: at(0)}, -1},
		{"a toleration of everything is for ever", []corev1.Toleration{{Operator: corev1.TolerationOpExists}}, clocks{unreachable: at(0), gpu: at(5)}, -1},
		{"one taint that is not tolerated is enough", []corev1.Toleration{tolerate(corev1.TaintNodeUnreachable, nil)}, clocks{unreachable: at(0), gpu: at(5)}, 5},
		{"the first to run out counts", []corev1.Toleration{tolerate(corev1.TaintNodeUnreachable, ptr.To[int64](300)), tolerate("gpu", ptr.To[int64](10))}, clocks{unreachable: at(0), gpu: at(100)}, 110},
		{"the first toleration that matches counts", []corev1.Toleration{tolerate("", ptr.To[int64](20)), tolerate("gpu", ptr.To[int64](10))}, clocks{gpu: at(0)}, 20},
		{"negative seconds are none", []corev1.Toleration{tolerate("gpu", ptr.To[int64](-5))}, clocks{gpu: at(3)}, 3},
		{"no taints, no eviction", nil, clocks{}, -1},
		{"another value is another taint", []corev1.Toleration{{Key: "gpu", Operator: corev1.TolerationOpEqual, Value: "slow"}}, clocks{gpu: at(3)}, 3},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, never := evictAt(c.tolerations, c.running)
			if never != (c.want < 0) || !never && !got.Equal(at(c.want)) {
				t.Errorf("evicted at %v (never: %v), want %d s", got.Sub(epoch), never, c.want)
			}
		})
	}
}

func TestClocksRunOn(t *testing.T) {
	a, b := corev1.Taint{Key: "a", Effect: corev1.TaintEffectNoExecute}, corev1.Taint{Key: "b", Effect: corev1.TaintEffectNoExecute}
	var c clocks
	c = c.tick([]corev1.Taint{a}, at(0))
	c = c.tick([]corev1.Taint{a, b}, at(10))
	if !c[a].Equal(at(0)) || !c[b].Equal(at(10)) {
		t.Errorf("clocks are %v", c)
	}
	c = c.tick([]corev1.Taint{b}, at(20))
	c = c.tick([]corev1.Taint{a, b}, at(30))
	if !c[a].Equal(at(30)) || !c[b].Equal(at(10)) {
		t.Errorf("after a comeback clocks are %v", c)
	}
}
