package registry

import (
	"context"
	"fmt"
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/duration"
	"k8s.io/apiserver/pkg/registry/rest"

	"github.com/skiffcluster/skiff/api"
)

// table prints objects in the columns that the kind declares.
type table struct{ kind *api.Kind }

func newTable(k *api.Kind) rest.TableConvertor {
	if len(k.Columns) == 0 {
		return rest.NewDefaultTableConvertor(k.GVR.GroupResource())
	}
	return table{k}
}

func (t table) ConvertToTable(_ context.Context, obj, options runtime.Object) (*metav1.Table, error) {
	out := &metav1.Table{Rows: []metav1.TableRow{}}
	if o, ok := options.(*metav1.TableOptions); !ok || !o.NoHeaders {
		out.ColumnDefinitions = t.kind.Columns
	}
	now := time.Now()
	add := func(o runtime.Object, all ...runtime.Object) {
		cells := t.kind.Cells(o, all...)
		for i, c := range cells {
			cells[i] = printable(c, now)
		}
		row := metav1.TableRow{Cells: cells, Object: runtime.RawExtension{Object: o}}
		if t.kind.RowConditions != nil {
			row.Conditions = t.kind.RowConditions(o)
		}
		out.Rows = append(out.Rows, row)
	}
	if l, err := meta.ListAccessor(obj); err == nil {
		out.ResourceVersion, out.Continue, out.RemainingItemCount = l.GetResourceVersion(), l.GetContinue(), l.GetRemainingItemCount()
		all, err := meta.ExtractList(obj)
		if err != nil {
			return nil, fmt.Errorf("print list: %w", err)
		}
		if t.kind.Order != nil {
			slices.SortStableFunc(all, t.kind.Order)
		}
		for _, o := range all {
			add(o, all...)
		}
		return out, nil
	}
	if m, ok := obj.(metav1.Object); ok {
		out.ResourceVersion = m.GetResourceVersion()
	}
	add(obj)
	return out, nil
}

// printable turns a time into an age.
func printable(cell any, now time.Time) any {
	t, ok := cell.(metav1.Time)
	if !ok {
		return cell
	}
	if t.IsZero() {
		return "<unknown>"
	}
	return duration.HumanDuration(now.Sub(t.Time))
}
