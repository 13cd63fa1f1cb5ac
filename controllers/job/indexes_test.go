package job

import (
	"fmt"
	"testing"
)

func TestIndexes(t *testing.T) {
	tests := []struct {
		name        string
		text        string
		completions int
		add         []int
		want        string
		count       int
	}{
		{"nothing", "", 10, nil, "", 0},
		{"one", "", 10, []int{3}, "3", 1},
		{"two in a row are not joined", "", 10, []int{3, 4}, "3,4", 2},
		{"three in a row are", "3,4", 10, []int{5}, "3-5", 3},
		{"a gap is closed", "1,3-5,7", 10, []int{2, 6}, "1-7", 7},
		{"what is there already stays once", "1,3-5", 10, []int{4, 4, 1}, "1,3-5", 4},
		{"unordered additions", "5", 10, []int{9, 0, 6, 7}, "0,5-7,9", 5},
		{"a job made smaller forgets the rest", "1,3-5,7", 5, nil, "1,3,4", 3},
		{"what is no number is left out", "1,x,3-y,4", 10, nil, "1,4", 2},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			set := parseIndexes(test.text, test.completions).with(test.add...)
			if set.String() != test.want || set.count() != test.count {
				t.Errorf("got %q with %d, want %q with %d", set, set.count(), test.want, test.count)
			}
			for i := range 12 {
				listed := parseIndexes(set.String(), 100).common(indexes{}.with(i)) == 1
				if set.has(i) != listed {
					t.Errorf("has(%d) is %v", i, set.has(i))
				}
			}
		})
	}
}

func TestMissingIndexes(t *testing.T) {
	tests := []struct {
		name       string
		taken      string
		limit, end int
		want       string
	}{
		{"all are free", "", 3, 5, "[0 1 2]"},
		{"no more than there are", "", 9, 3, "[0 1 2]"},
		{"gaps first", "0,2,3", 3, 9, "[1 4 5]"},
		{"all taken", "0-4", 2, 5, "[]"},
		{"none wanted", "1", 0, 5, "[]"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			if got := fmt.Sprint(parseIndexes(test.taken, 100).missing(test.limit, test.end)); got != test.want {
				t.Errorf("got %s, want %s", got, test.want)
			}
		})
	}
}
