package deployment

import (
	"math"

	appsv1 "k8s.io/api/apps/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// limits is how far a rolling update may stray from spec.replicas.
type limits struct {
	// surge is how many pods there may be above, unavailable how many
	// available pods there may be below.
	surge, unavailable int32
}

// limitsOf resolves maxSurge, rounded up, and maxUnavailable, rounded down, as
// the API reference says. Both cannot be 0, or nothing would ever move: then
// one pod may be unavailable. Recreate has no limits.
func limitsOf(d *appsv1.Deployment) limits {
	if !isRolling(d) {
		return limits{}
	}
	var surge, unavailable *intstr.IntOrString
	if rolling := d.Spec.Strategy.RollingUpdate; rolling != nil {
		surge, unavailable = rolling.MaxSurge, rolling.MaxUnavailable
	}
	l := limits{
		surge:       share(surge, replicas(d), true),
		unavailable: share(unavailable, replicas(d), false),
	}
	if l.surge == 0 && l.unavailable == 0 {
		l.unavailable = 1
	}
	l.unavailable = min(l.unavailable, replicas(d))
	return l
}

// share resolves a number or a percentage of total; the server admits nothing
// else. No value is a quarter, the server's default.
func share(value *intstr.IntOrString, total int32, roundUp bool) int32 {
	quarter := intstr.FromString("25%")
	if value == nil {
		value = &quarter
	}
	number, err := intstr.GetScaledValueFromIntOrPercent(value, int(total), roundUp)
	if err != nil || number < 0 {
		return 0
	}
	return int32(min(number, math.MaxInt32))
}

// isRolling: no strategy is the default, a rolling update.
func isRolling(d *appsv1.Deployment) bool {
	return d.Spec.Strategy.Type != appsv1.RecreateDeploymentStrategyType
}

// replicas returns how many pods a Deployment asks for; the default is 1.
func replicas(d *appsv1.Deployment) int32 {
	if d.Spec.Replicas == nil {
		return 1
	}
	return *d.Spec.Replicas
}

// sizeOf returns how many pods a set asks for; the default is 1.
func sizeOf(set *appsv1.ReplicaSet) int32 {
	if set.Spec.Replicas == nil {
		return 1
	}
	return *set.Spec.Replicas
}

// total adds up how many pods sets ask for.
func total(sets []*appsv1.ReplicaSet) int32 {
	var sum int32
	for _, set := range sets {
		sum += sizeOf(set)
	}
	return sum
}
