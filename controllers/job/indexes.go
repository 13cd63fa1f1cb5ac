package job

import (
	"cmp"
	"slices"
	"strconv"
	"strings"
)

// indexes is a set of completion indexes, as ranges in ascending order with
// gaps between them, so that its size is that of the gaps.
type indexes []span

type span struct{ first, last int }

// parseIndexes reads the form of a Job's status, as in "1,3-5,7". What is no
// number, or is not below completions (the Job was made smaller), is left out.
func parseIndexes(text string, completions int) indexes {
	var spans indexes
	for part := range strings.SplitSeq(text, ",") {
		from, to, isRange := strings.Cut(part, "-")
		if !isRange {
			to = from
		}
		first, errFirst := strconv.Atoi(from)
		last, errLast := strconv.Atoi(to)
		if last = min(last, completions-1); errFirst == nil && errLast == nil && first <= last {
			spans = append(spans, span{first, last})
		}
	}
	return spans.union(nil)
}

// with returns the set with more indexes in it.
func (s indexes) with(more ...int) indexes {
	spans := make(indexes, 0, len(more))
	for _, i := range more {
		spans = append(spans, span{i, i})
	}
	return s.union(spans)
}

// union returns a set of what is in either.
func (s indexes) union(other indexes) indexes {
	all := slices.SortedFunc(slices.Values(slices.Concat(s, other)), func(a, b span) int { return cmp.Compare(a.first, b.first) })
	var merged indexes
	for _, next := range all {
		if n := len(merged); n > 0 && next.first <= merged[n-1].last+1 {
			merged[n-1].last = max(merged[n-1].last, next.last)
			continue
		}
		merged = append(merged, next)
	}
	return merged
}

// has tells whether an index is in the set.
func (s indexes) has(index int) bool {
	_, found := slices.BinarySearchFunc(s, index, func(each span, index int) int {
		switch {
		case each.last < index:
			return -1
		case each.first > index:
			return 1
		}
		return 0
	})
	return found
}

// count is how many indexes are in the set.
func (s indexes) count() int {
	sum := 0
	for _, each := range s {
		sum += each.last - each.first + 1
	}
	return sum
}

// common is how many indexes are in both sets.
func (s indexes) common(other indexes) int { return s.count() + other.count() - s.union(other).count() }

// missing returns the first limit indexes below the end that are not in the set.
func (s indexes) missing(limit, end int) []int {
	var free []int
	next := 0
	for _, each := range append(slices.Clip(s), span{end, end}) {
		for ; next < min(each.first, end) && len(free) < limit; next++ {
			free = append(free, next)
		}
		next = max(next, each.last+1)
	}
	return free
}

// String is the form of a Job's status: three and more in a row are joined.
func (s indexes) String() string {
	var parts []string
	for _, each := range s {
		first, last := strconv.Itoa(each.first), strconv.Itoa(each.last)
		switch each.last - each.first {
		case 0:
			parts = append(parts, first)
		case 1:
			parts = append(parts, first, last)
		default:
			parts = append(parts, first+"-"+last)
		}
	}
	return strings.Join(parts, ",")
}
