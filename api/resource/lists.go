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
	distinctAs(e, list, limit, fld, key, func(v *T) any { return key(v) }, check)
}

// distinctAs is distinct with another way to show what is there twice.
func distinctAs[T any, K comparable](e *validate.Errors, list []T, limit int, fld *field.Path, key func(*T) K, shown func(*T) any, check func(*T, *field.Path)) {
	if !each(e, list, limit, fld, check) {
		return
	}
	seen := sets.New[K]()
	for i := range list {
		k := key(&list[i])
		if seen.Has(k) {
			e.Duplicate(fld.Index(i), shown(&list[i]))
		}
		seen.Insert(k)
	}
}

func whole[T any](v *T) any { return *v }

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
