package resource

import (
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/skiffcluster/skiff/api/validate"
)

// each checks the entries of a list unless there are more than limit, which is
// an error itself: nobody wants to read one for each of a million entries.
func each[T any](e *validate.Errors, list []T, limit int, fld *field.Path, check func(*T, *field.Path)) bool {
	if len(list) > limit {
		e.TooMany(fld, len(list), limit)
		return false
	}
	for i := range list {
		check(&list[i], fld.Index(i))
	}
	return true
}

// distinct is each, of entries that no two may have the same key of.
func distinct[T any, K comparable](e *validate.Errors, list []T, limit int, fld *field.Path, key func(*T) K, check func(*T, *field.Path)) {
	if each(e, list, limit, fld, check) {
		twice(list, key, func(i int) { e.Duplicate(fld.Index(i), key(&list[i])) })
	}
}

// unique is distinct where Kubernetes declares the limit and the key in the
// type, and shows the whole of what is there twice.
func unique[T any, K comparable](e *validate.Errors, list []T, limit int, fld *field.Path, key func(*T) K, check func(*T, *field.Path)) {
	if len(list) <= limit {
		twice(list, key, func(i int) { e.Declared().Duplicate(fld.Index(i), list[i]) })
	}
	each(e, list, limit, fld, check)
}

// twice tells the places of entries whose key an earlier one has.
func twice[T any, K comparable](list []T, key func(*T) K, tell func(i int)) {
	seen := sets.New[K]()
	for i := range list {
		k := key(&list[i])
		if seen.Has(k) {
			tell(i)
		}
		seen.Insert(k)
	}
}

func itself[T any](v *T) T { return *v }

// oneOf gives the names of the fields that are set, quoted as messages have
// them.
func oneOf(set map[string]bool, order ...string) []string {
	var there []string
	for _, name := range order {
		if set[name] {
			there = append(there, "`"+name+"`")
		}
	}
	return there
}
