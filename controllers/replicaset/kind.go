package replicaset

import (
	appsv1 "k8s.io/api/apps/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// Kind describes a kind that the engine can keep at its number of replicas. T
// is its Go type, a pointer.
type Kind[T client.Object] struct {
	// GroupVersionKind is what the pods' owner references say.
	GroupVersionKind schema.GroupVersionKind

	// Name of the controller, in events, logs and metrics.
	Name string

	// New returns an empty object, NewList an empty list of them.
	New     func() T
	NewList func() client.ObjectList

	// Items returns the objects in a list that NewList made.
	Items func(client.ObjectList) []T

	// View shows an object as the ReplicaSet that it amounts to. It may share
	// memory with the object.
	View func(T) *appsv1.ReplicaSet

	// SetStatus writes a status into the object.
	SetStatus func(T, appsv1.ReplicaSetStatus)
}

func replicaSetKind() Kind[*appsv1.ReplicaSet] {
	return Kind[*appsv1.ReplicaSet]{
		GroupVersionKind: appsv1.SchemeGroupVersion.WithKind("ReplicaSet"),
		Name:             "replicaset-controller",
		New:              func() *appsv1.ReplicaSet { return &appsv1.ReplicaSet{} },
		NewList:          func() client.ObjectList { return &appsv1.ReplicaSetList{} },
		Items: func(list client.ObjectList) []*appsv1.ReplicaSet {
			items := list.(*appsv1.ReplicaSetList).Items
			sets := make([]*appsv1.ReplicaSet, 0, len(items))
			for i := range items {
				sets = append(sets, &items[i])
			}
			return sets
		},
		View:      func(set *appsv1.ReplicaSet) *appsv1.ReplicaSet { return set },
		SetStatus: func(set *appsv1.ReplicaSet, status appsv1.ReplicaSetStatus) { set.Status = status },
	}
}
