package deployment

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/utils/ptr"
)

func deploymentOf(replicas int32, surge, unavailable string) *appsv1.Deployment {
	d := &appsv1.Deployment{}
	d.Name, d.Namespace, d.Generation = "web", "default", 1
	d.Spec.Replicas = &replicas
	d.Spec.Strategy.Type = appsv1.RollingUpdateDeploymentStrategyType
	d.Spec.Strategy.RollingUpdate = &appsv1.RollingUpdateDeployment{
		MaxSurge: ptr.To(intstr.Parse(surge)), MaxUnavailable: ptr.To(intstr.Parse(unavailable)),
	}
	d.Spec.ProgressDeadlineSeconds = ptr.To[int32](600)
	return d
}

func recreateOf(replicas int32) *appsv1.Deployment {
	d := deploymentOf(replicas, "0", "0")
	d.Spec.Strategy = appsv1.DeploymentStrategy{Type: appsv1.RecreateDeploymentStrategyType}
	return d
}

var epoch = time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)

// setOf is the set of some age: a higher number is younger.
func setOf(number int, size, available int32) *appsv1.ReplicaSet {
	set := &appsv1.ReplicaSet{}
	set.Name = fmt.Sprintf("web-%d", number)
	set.CreationTimestamp = metav1.NewTime(epoch.Add(time.Duration(number) * time.Minute))
	set.Annotations = map[string]string{revisionAnnotation: fmt.Sprint(number)}
	set.Spec.Replicas = &size
	set.Status = appsv1.ReplicaSetStatus{Replicas: size, ReadyReplicas: available, AvailableReplicas: available}
	return set
}

func sizedFor(set *appsv1.ReplicaSet, d *appsv1.Deployment) *appsv1.ReplicaSet {
	set.Annotations = sizeAnnotations(d, set.Annotations)
	return set
}

// show prints a plan as name=size.
func show(plan []resize) string {
	var parts []string
	for _, step := range plan {
		parts = append(parts, fmt.Sprintf("%s=%d", step.set.Name, step.size))
	}
	return strings.Join(parts, " ")
}

func TestLimits(t *testing.T) {
	tests := []struct {
		name string
		d    *appsv1.Deployment
		want limits
	}{
		{"numbers stand for themselves", deploymentOf(10, "3", "2"), limits{3, 2}},
		{"a surge in percent is rounded up, unavailable down", deploymentOf(10, "25%", "25%"), limits{3, 2}},
		{"one pod by the defaults may surge and none be missing", deploymentOf(1, "25%", "25%"), limits{1, 0}},
		{"both zero would never move, so one may be missing", deploymentOf(5, "0", "0"), limits{0, 1}},
		{"both zero after rounding lets one be missing", deploymentOf(3, "0%", "30%"), limits{0, 1}},
		{"no more can be missing than there are", deploymentOf(2, "0", "5"), limits{0, 2}},
		{"all may be missing", deploymentOf(4, "100%", "100%"), limits{4, 4}},
		{"no replicas have no limits", deploymentOf(0, "25%", "25%"), limits{0, 0}},
		{"Recreate has no limits", recreateOf(10), limits{}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			if got := limitsOf(test.d); got != test.want {
				t.Errorf("got %+v, want %+v", got, test.want)
			}
		})
	}
	t.Run("no numbers are a quarter each", func(t *testing.T) {
		d := deploymentOf(8, "1", "1")
		d.Spec.Strategy = appsv1.DeploymentStrategy{}
		if got, want := limitsOf(d), (limits{2, 2}); got != want {
			t.Errorf("got %+v, want %+v", got, want)
		}
	})
}

func TestPlanNewSize(t *testing.T) {
	tests := []struct {
		name   string
		d      *appsv1.Deployment
		newest *appsv1.ReplicaSet
		old    []*appsv1.ReplicaSet
		want   int32
	}{
		{"the first set gets all", deploymentOf(3, "25%", "25%"), nil, nil, 3},
		{"a new set beside a full old one gets the surge", deploymentOf(10, "3", "2"), nil, []*appsv1.ReplicaSet{setOf(1, 10, 10)}, 3},
		{"a new set without any surge gets nothing yet", deploymentOf(10, "0", "2"), nil, []*appsv1.ReplicaSet{setOf(1, 10, 10)}, 0},
		{"it grows as the old ones shrink", deploymentOf(10, "3", "2"), setOf(2, 3, 3), []*appsv1.ReplicaSet{setOf(1, 5, 5)}, 8},
		{"it never gets more than asked for", deploymentOf(10, "3", "2"), setOf(2, 9, 9), []*appsv1.ReplicaSet{setOf(1, 1, 1)}, 10},
		{"too large a set shrinks", deploymentOf(2, "1", "0"), setOf(2, 5, 5), nil, 2},
		{"no room leaves it as it is", deploymentOf(2, "1", "0"), setOf(2, 1, 0), []*appsv1.ReplicaSet{setOf(1, 4, 4)}, 1},
		{"Recreate gives all at once", recreateOf(4), nil, nil, 4},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			if got := planNewSize(test.d, test.newest, test.old); got != test.want {
				t.Errorf("got %d, want %d", got, test.want)
			}
		})
	}
}

func TestPlanRolling(t *testing.T) {
	tests := []struct {
		name   string
		d      *appsv1.Deployment
		newest *appsv1.ReplicaSet
		old    []*appsv1.ReplicaSet
		want   string
	}{
		{"the first step takes the surge and what may be missing", deploymentOf(10, "3", "2"), setOf(2, 0, 0), []*appsv1.ReplicaSet{setOf(1, 10, 10)}, "web-2=3 web-1=8"},
		{"nothing shrinks while the new pods start", deploymentOf(10, "3", "2"), setOf(2, 5, 0), []*appsv1.ReplicaSet{setOf(1, 8, 8)}, "web-2=5"},
		{"each new available pod lets an old one go, and a new one come", deploymentOf(10, "3", "2"), setOf(2, 5, 2), []*appsv1.ReplicaSet{setOf(1, 8, 8)}, "web-2=5 web-1=6"},
		{"without surge an old pod goes first", deploymentOf(3, "0", "1"), setOf(2, 0, 0), []*appsv1.ReplicaSet{setOf(1, 3, 3)}, "web-2=0 web-1=2"},
		{"the last old pods go when all new ones are there", deploymentOf(3, "1", "0"), setOf(2, 3, 3), []*appsv1.ReplicaSet{setOf(1, 1, 1)}, "web-2=3 web-1=0"},
		{"with none to miss, nothing goes before the new pod is available", deploymentOf(1, "1", "0"), setOf(2, 1, 0), []*appsv1.ReplicaSet{setOf(1, 1, 1)}, "web-2=1"},
		{"a pod that is not available costs nothing and goes first", deploymentOf(3, "1", "1"), setOf(3, 1, 0), []*appsv1.ReplicaSet{setOf(1, 2, 2), setOf(2, 1, 0)}, "web-3=1 web-2=0"},
		{"of the available ones the oldest set's go first", deploymentOf(10, "0", "5"), setOf(3, 0, 0), []*appsv1.ReplicaSet{setOf(1, 4, 4), setOf(2, 6, 6)}, "web-3=0 web-1=0 web-2=5"},
		{"broken new pods do not cost available old ones", deploymentOf(10, "2", "2"), setOf(2, 4, 0), []*appsv1.ReplicaSet{setOf(1, 8, 8)}, "web-2=4"},
		{"a step that the set has not carried out is not taken again", deploymentOf(10, "3", "2"), setOf(2, 3, 0), []*appsv1.ReplicaSet{setOf(1, 8, 10)}, "web-2=5"},
		{"a set that has not shrunk yet counts as what it asks for", deploymentOf(20, "25%", "25%"), setOf(4, 0, 0), []*appsv1.ReplicaSet{setOf(2, 15, 20), setOf(3, 10, 0)}, "web-4=0 web-3=0"},
		{"all may be missing: all go at once", deploymentOf(4, "0", "100%"), setOf(2, 0, 0), []*appsv1.ReplicaSet{setOf(1, 4, 4)}, "web-2=0 web-1=0"},
		{"no replicas end everything", deploymentOf(0, "25%", "25%"), setOf(2, 0, 0), []*appsv1.ReplicaSet{setOf(1, 3, 3)}, "web-2=0 web-1=0"},
		{"a complete rollout stays as it is", deploymentOf(3, "1", "1"), setOf(2, 3, 3), []*appsv1.ReplicaSet{setOf(1, 0, 0)}, "web-2=3"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			if got := show(planRolling(test.d, test.newest, test.old)); got != test.want {
				t.Errorf("got %q, want %q", got, test.want)
			}
		})
	}
}

// Whatever the order in which pods come up, go down and break, a rolling update
// keeps its limits at every step and comes to its end.
func TestPlanRollingKeepsItsLimits(t *testing.T) {
	for seed := range uint64(300) {
		random := rand.New(rand.NewPCG(seed, 1))
		size := random.Int32N(20) + 1
		d := deploymentOf(size, fmt.Sprintf("%d%%", random.IntN(101)), fmt.Sprintf("%d%%", random.IntN(101)))
		l := limitsOf(d)
		old := []*appsv1.ReplicaSet{setOf(1, size/2, size/2), setOf(2, size-size/2, size-size/2)}
		newest := setOf(3, 0, 0)
		all := append(slices.Clone(old), newest)

		steps := 0
		for ; sizeOf(newest) < size || newest.Status.AvailableReplicas < size || total(old) > 0; steps++ {
			if steps > 1000 {
				t.Fatalf("seed %d: no end: %s", seed, show(planRolling(d, newest, old)))
			}
			for _, step := range planRolling(d, newest, old) {
				step.set.Spec.Replicas = ptr.To(step.size)
			}
			if sum := total(all); sum > size+l.surge {
				t.Fatalf("seed %d: %d pods asked for, more than %d+%d", seed, sum, size, l.surge)
			}
			// A set ends pods that are not available first, and says so at once
			// or later; then, by chance, one of the new pods becomes available.
			var available int32
			for _, set := range all {
				left := min(set.Status.AvailableReplicas, sizeOf(set))
				if random.IntN(3) > 0 {
					set.Status.AvailableReplicas = left
				}
				available += left
			}
			if available < size-l.unavailable {
				t.Fatalf("seed %d: %d available, fewer than %d-%d", seed, available, size, l.unavailable)
			}
			if sizeOf(newest) > newest.Status.AvailableReplicas && random.IntN(2) == 0 {
				newest.Status.AvailableReplicas++
			}
		}
	}
}

func TestPlanScale(t *testing.T) {
	was10, was1 := deploymentOf(10, "3", "2"), deploymentOf(1, "3", "2")
	tests := []struct {
		name   string
		d      *appsv1.Deployment
		newest *appsv1.ReplicaSet
		old    []*appsv1.ReplicaSet
		want   string
	}{
		{"no set, no plan", deploymentOf(3, "1", "1"), nil, nil, ""},
		{"the only set gets all", deploymentOf(5, "1", "1"), sizedFor(setOf(1, 3, 3), was10), nil, "web-1=5"},
		{"the only active set gets all, though old", deploymentOf(5, "1", "1"), setOf(2, 0, 0), []*appsv1.ReplicaSet{sizedFor(setOf(1, 3, 3), was10)}, "web-1=5"},
		{"no active set: the newest gets all", deploymentOf(5, "1", "1"), setOf(2, 0, 0), []*appsv1.ReplicaSet{setOf(1, 0, 0)}, "web-2=5"},
		{"no active set and no newest: the youngest gets all", deploymentOf(5, "1", "1"), nil, []*appsv1.ReplicaSet{setOf(1, 0, 0), setOf(2, 0, 0)}, "web-2=5"},
		{"a complete new set ends the old ones", deploymentOf(5, "1", "1"), sizedFor(setOf(2, 5, 5), deploymentOf(5, "1", "1")), []*appsv1.ReplicaSet{setOf(1, 2, 2)}, "web-1=0"},
		{
			// 10 of 13 becomes 15 with a surge of 3: 8 and 5 times 18/13.
			"scaling up gives each set its part, the largest what rounding left",
			deploymentOf(15, "3", "2"), sizedFor(setOf(2, 5, 0), was10), []*appsv1.ReplicaSet{sizedFor(setOf(1, 8, 8), was10)}, "web-1=11 web-2=7",
		},
		{
			"scaling down takes from each its part",
			deploymentOf(5, "3", "2"), sizedFor(setOf(2, 5, 0), was10), []*appsv1.ReplicaSet{sizedFor(setOf(1, 8, 8), was10)}, "web-1=5 web-2=3",
		},
		{
			"equal sizes favour the younger set on the way up",
			deploymentOf(11, "3", "2"), sizedFor(setOf(2, 6, 6), was10), []*appsv1.ReplicaSet{sizedFor(setOf(1, 6, 6), was10)}, "web-2=8 web-1=6",
		},
		{
			"to zero ends them all",
			deploymentOf(0, "3", "2"), sizedFor(setOf(2, 5, 0), was10), []*appsv1.ReplicaSet{sizedFor(setOf(1, 8, 8), was10)}, "web-1=0 web-2=0",
		},
		{
			"from one to ten in the middle of a rollout",
			deploymentOf(10, "3", "2"), sizedFor(setOf(2, 3, 0), was1), []*appsv1.ReplicaSet{sizedFor(setOf(1, 1, 1), was1)}, "web-2=10 web-1=3",
		},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			if got := show(planScale(test.d, test.newest, test.old)); got != test.want {
				t.Errorf("got %q, want %q", got, test.want)
			}
		})
	}
}

// However a Deployment in the middle of a rollout is scaled, its sets ask for
// exactly what they may together.
func TestPlanScaleAddsUp(t *testing.T) {
	for seed := range uint64(500) {
		random := rand.New(rand.NewPCG(seed, 2))
		before := deploymentOf(random.Int32N(40)+2, "25%", "25%")
		after := deploymentOf(random.Int32N(40)+1, "25%", "25%")
		left := replicas(before) + limitsOf(before).surge
		var old []*appsv1.ReplicaSet
		for n := 1; n < 4 && left > 1; n++ {
			size := random.Int32N(left-1) + 1
			left -= size
			old = append(old, sizedFor(setOf(n, size, size), before))
		}
		newest := sizedFor(setOf(9, left, 0), before)
		plan := planScale(after, newest, old)
		var sum int32
		for _, step := range plan {
			if step.size < 0 {
				t.Fatalf("seed %d: negative size in %s", seed, show(plan))
			}
			sum += step.size
		}
		if want := replicas(after) + limitsOf(after).surge; sum != want {
			t.Fatalf("seed %d: sizes add up to %d, want %d: %s", seed, sum, want, show(plan))
		}
	}
}

func TestWasScaled(t *testing.T) {
	was := deploymentOf(3, "1", "1")
	tests := []struct {
		name string
		d    *appsv1.Deployment
		set  *appsv1.ReplicaSet
		want bool
	}{
		{"the same size is none", deploymentOf(3, "1", "1"), sizedFor(setOf(1, 3, 3), was), false},
		{"another size is", deploymentOf(4, "1", "1"), sizedFor(setOf(1, 3, 3), was), true},
		{"a set without pods does not count", deploymentOf(4, "1", "1"), sizedFor(setOf(1, 0, 0), was), false},
		{"a set that remembers nothing does not count", deploymentOf(4, "1", "1"), setOf(1, 3, 3), false},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			if got := wasScaled(test.d, []*appsv1.ReplicaSet{test.set}); got != test.want {
				t.Errorf("got %v, want %v", got, test.want)
			}
		})
	}
}

func TestPlanHistory(t *testing.T) {
	terminating := setOf(1, 0, 0)
	terminating.DeletionTimestamp = ptr.To(metav1.NewTime(epoch))
	unseen := setOf(1, 0, 0)
	unseen.Generation = 2
	rolledBack := setOf(1, 0, 0)
	rolledBack.Annotations[revisionAnnotation] = "9"
	tests := []struct {
		name  string
		limit int32
		old   []*appsv1.ReplicaSet
		want  string
	}{
		{"within the limit all stay", 2, []*appsv1.ReplicaSet{setOf(1, 0, 0), setOf(2, 0, 0)}, ""},
		{"beyond it the lowest revisions go", 1, []*appsv1.ReplicaSet{setOf(3, 0, 0), setOf(1, 0, 0), setOf(2, 0, 0)}, "web-1 web-2"},
		{"revisions count, not ages", 1, []*appsv1.ReplicaSet{rolledBack, setOf(2, 0, 0)}, "web-2"},
		{"zero keeps none", 0, []*appsv1.ReplicaSet{setOf(1, 0, 0)}, "web-1"},
		{"a set with pods stays", 0, []*appsv1.ReplicaSet{setOf(1, 1, 1)}, ""},
		{"a set that has not seen its last change stays", 0, []*appsv1.ReplicaSet{unseen}, ""},
		{"a terminating set neither counts nor goes", 1, []*appsv1.ReplicaSet{terminating, setOf(2, 0, 0)}, ""},
		{"the largest number is no limit", 1<<31 - 1, []*appsv1.ReplicaSet{setOf(1, 0, 0)}, ""},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			d := deploymentOf(1, "1", "1")
			d.Spec.RevisionHistoryLimit = &test.limit
			var names []string
			for _, set := range planHistory(d, test.old) {
				names = append(names, set.Name)
			}
			if got := strings.Join(names, " "); got != test.want {
				t.Errorf("got %q, want %q", got, test.want)
			}
		})
	}
}
