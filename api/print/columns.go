package print

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/skiffcluster/skiff/api"
)

// Name is the first column of nearly every kind.
func Name[T any]() api.Column[T] {
	return api.Column[T]{
		Name: "Name", Format: "name", Description: NameDoc(),
		Value: func(obj *T) any { return metadata(obj).GetName() },
	}
}

// Age is the column of an object's age.
func Age[T any]() api.Column[T] {
	return api.Column[T]{
		Name: "Age", Description: AgeDoc(),
		Value: func(obj *T) any { return metadata(obj).GetCreationTimestamp() },
	}
}

// metadata is the metadata of an object of a kind; every kind has it.
func metadata[T any](obj *T) metav1.Object { return any(obj).(metav1.Object) }
