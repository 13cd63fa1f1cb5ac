package queue

import "container/heap"

// ordered is a heap of items that knows the place of each.
type ordered struct {
	items []*Item
	less  func(a, b *Item) bool
}

func (o *ordered) Len() int           { return len(o.items) }
func (o *ordered) Less(i, j int) bool { return o.less(o.items[i], o.items[j]) }
func (o *ordered) Swap(i, j int) {
	o.items[i], o.items[j] = o.items[j], o.items[i]
	o.items[i].place, o.items[j].place = i, j
}

// Push is for package heap.
func (o *ordered) Push(x any) {
	item := x.(*Item)
	item.place = len(o.items)
	o.items = append(o.items, item)
}

// Pop is for package heap.
func (o *ordered) Pop() any {
	last := len(o.items) - 1
	item := o.items[last]
	o.items[last] = nil
	o.items = o.items[:last]
	return item
}

func (o *ordered) add(item *Item)    { heap.Push(o, item) }
func (o *ordered) remove(item *Item) { heap.Remove(o, item.place) }
func (o *ordered) fix(item *Item)    { heap.Fix(o, item.place) }

func (o *ordered) first() *Item {
	if len(o.items) == 0 {
		return nil
	}
	return o.items[0]
}
