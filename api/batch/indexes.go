package batch

import (
	"fmt"
	"strconv"
	"strings"
)

// indexes are completion indexes as ranges, ascending: "1,3-5,7".
type indexes []struct{ first, last int32 }

// count is how many indexes there are.
func (s indexes) count() int32 {
	var n int32
	for _, r := range s {
		n += r.last - r.first + 1
	}
	return n
}

// overlap is the first index that both have.
func (s indexes) overlap(other indexes) (index int32, found bool) {
	for i, k := 0, 0; i < len(s) && k < len(other); {
		a, b := s[i], other[k]
		if a.first <= b.last && b.first <= a.last {
			return max(a.first, b.first), true
		}
		if a.first <= b.first {
			i++
		} else {
			k++
		}
	}
	return 0, false
}

// parseIndexes reads the text form; all indexes are below completions.
func parseIndexes(text string, completions int32) (indexes, error) {
	if text == "" {
		return nil, nil
	}
	var set indexes
	for part := range strings.SplitSeq(text, ",") {
		ends := strings.Split(part, "-")
		if len(ends) > 2 {
			return nil, fmt.Errorf("the fragment %q violates the requirement that an index interval can have "+
				"at most two parts separated by '-'", part)
		}
		first, err := parseIndex(ends[0], completions)
		if err != nil {
			return nil, err
		}
		last := first
		if len(ends) == 2 {
			if last, err = parseIndex(ends[1], completions); err != nil {
				return nil, err
			}
			if first >= last {
				return nil, notIncreasing(first, last)
			}
		}
		if n := len(set); n > 0 && set[n-1].last >= first {
			return nil, notIncreasing(set[n-1].last, first)
		}
		set = append(set, struct{ first, last int32 }{first, last})
	}
	return set, nil
}

func parseIndex(text string, completions int32) (int32, error) {
	n, err := strconv.Atoi(text)
	if err != nil {
		return 0, fmt.Errorf("cannot convert string to integer for index: %q", text)
	}
	if n >= int(completions) {
		return 0, fmt.Errorf("too large index: %q", text)
	}
	return int32(n), nil
}

func notIncreasing(previous, current int32) error {
	return fmt.Errorf("non-increasing order, previous: %d, current: %d", previous, current)
}
