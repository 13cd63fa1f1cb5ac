package nft

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"
)

// Entry is an element that somebody wants to be in a set.
type Entry struct {
	Set *Set
	Element
}

// Store keeps tables in the kernel equal to what is wanted. It remembers what
// it wrote and sends differences; a full comparison with the kernel comes first
// and whenever something else may have changed the ruleset. Entries that
// several owners want are counted. It is not safe for concurrent use.
type Store struct {
	conn   *Conn
	tables []*tableState
	bySet  map[*Set]*setState

	generation uint32 // of the ruleset after our last commit
	sure       bool   // the kernel holds what we remember, as of generation
}

type tableState struct {
	Table
	base   []*Chain // in order: a chain before those that jump to it
	picked map[string]*Chain
	sets   []*setState
}

type setState struct {
	set  *Set
	want map[string]*wanted
}

type wanted struct {
	Element
	owners int
}

// Layout is a table's fixed part. Chains are listed before those that jump to
// them.
type Layout struct {
	Table  Table
	Sets   []*Set
	Chains []*Chain
}

// NewStore returns a Store that writes through conn. Nothing is written before
// the first Update.
func NewStore(conn *Conn, layouts ...Layout) *Store {
	s := &Store{conn: conn, bySet: map[*Set]*setState{}}
	for _, l := range layouts {
		t := &tableState{Table: l.Table, base: l.Chains, picked: map[string]*Chain{}}
		for _, set := range l.Sets {
			state := &setState{set: set, want: map[string]*wanted{}}
			s.bySet[set] = state
			t.sets = append(t.sets, state)
		}
		s.tables = append(s.tables, t)
	}
	return s
}

// Update replaces the entries old by the entries new; chains are those that
// new verdicts go to, beside the layout's. After an error the kernel is
// compared in full by the next Update or Check.
func (s *Store) Update(old, new []Entry, chains map[Table][]*Chain) error {
	before := s.change(old, new)
	var fresh Batch
	for _, t := range s.tables {
		for _, c := range chains[t.Table] {
			if t.picked[c.Name] == nil {
				t.picked[c.Name] = c
				fresh.AddChain(t.Table, c)
				fresh.SetRules(t.Table, c)
			}
		}
	}
	if !s.sure {
		_, err := s.compare()
		return err
	}
	s.writeDifference(&fresh, before)
	return s.commit(&fresh)
}

// Check compares with the kernel in full if anybody has changed the ruleset
// since our last commit, and returns how many things had to be repaired.
func (s *Store) Check() (int, error) {
	if s.sure {
		g, err := s.conn.Generation()
		if err != nil {
			s.sure = false
			return 0, fmt.Errorf("read nftables generation: %w", err)
		}
		if g == s.generation {
			return 0, nil
		}
	}
	return s.compare()
}

// purgeTries is how often Purge begins anew when an element that it removes
// times out meanwhile.
const purgeTries = 10

// Purge removes the elements of a Dynamic set that are stale.
func (s *Store) Purge(set *Set, stale func(Element) bool) error {
	for try := 1; ; try++ {
		var gone []Element
		if err := s.conn.Elements(set, func(e Element) {
			if stale(e) {
				gone = append(gone, Element{Key: slices.Clone(e.Key)})
			}
		}); err != nil {
			return err
		}
		var b Batch
		b.DeleteElements(set, gone)
		err := s.commit(&b)
		if err == nil || !errors.Is(err, fs.ErrNotExist) || try == purgeTries {
			return err
		}
	}
}

// change applies entries to what is wanted; it returns the elements touched as they were.
func (s *Store) change(old, new []Entry) map[*setState]map[string]Element {
	before := map[*setState]map[string]Element{}
	touch := func(e *Entry) (*setState, string, *wanted) {
		st, key := s.bySet[e.Set], keyOf(&e.Element)
		w := st.want[key]
		if before[st] == nil {
			before[st] = map[string]Element{}
		}
		if _, seen := before[st][key]; !seen {
			if w == nil {
				before[st][key] = Element{}
			} else {
				before[st][key] = w.Element
			}
		}
		return st, key, w
	}
	for i := range old {
		if _, _, w := touch(&old[i]); w != nil {
			w.owners--
		}
	}
	for i := range new {
		st, key, w := touch(&new[i])
		if w == nil {
			w = &wanted{}
			st.want[key] = w
		}
		w.owners++
		w.Element = new[i].Element
	}
	for st, keys := range before {
		for key := range keys {
			if w := st.want[key]; w != nil && w.owners <= 0 {
				delete(st.want, key)
			}
		}
	}
	return before
}

func (s *Store) writeDifference(b *Batch, before map[*setState]map[string]Element) {
	type diff struct{ add, remove []Element }
	diffs := map[*setState]*diff{}
	for st, keys := range before {
		d := &diff{}
		for key, was := range keys {
			w := st.want[key]
			if w != nil && was.Key != nil && sameData(&w.Element, &was) {
				continue
			}
			if was.Key != nil {
				d.remove = append(d.remove, was)
			}
			if w != nil {
				d.add = append(d.add, w.Element)
			}
		}
		diffs[st] = d
	}
	for _, t := range s.tables {
		for _, st := range t.sets {
			if d := diffs[st]; d != nil {
				b.DeleteElements(st.set, d.remove)
				b.AddElements(st.set, d.add)
			}
		}
	}
}

func (s *Store) commit(b *Batch) error {
	if b.Empty() {
		return nil
	}
	if err := s.conn.Commit(b); err != nil {
		s.sure = false
		return err
	}
	g, err := s.conn.Generation()
	// Somebody else's commit in between is found by its number.
	s.sure = err == nil && (!s.sure || g == s.generation+1)
	s.generation = g
	return nil
}

// compare makes the kernel equal to what is wanted, whatever it holds now.
func (s *Store) compare() (int, error) {
	s.sure = false
	start, err := s.conn.Generation()
	if err != nil {
		return 0, fmt.Errorf("read nftables generation: %w", err)
	}
	var b Batch
	repaired := 0
	for _, t := range s.tables {
		n, err := s.compareTable(&b, t)
		if err != nil {
			return 0, err
		}
		repaired += n
	}
	if repaired == 0 {
		s.generation, s.sure = start, true
		return 0, nil
	}
	if err := s.commit(&b); err != nil {
		// A table of another make (an older version's) cannot be amended.
		if err2 := s.commit(s.rebuild()); err2 != nil {
			return 0, fmt.Errorf("%w; and a new table: %w", err, err2)
		}
	}
	s.dropUnusedChains()
	return repaired, nil
}

func (s *Store) compareTable(b *Batch, t *tableState) (int, error) {
	exists, err := s.conn.HasTable(t.Table)
	if err != nil {
		return 0, fmt.Errorf("look for table %s: %w", t.Name, err)
	}
	if !exists {
		s.writeTable(b, t)
		return 1, nil
	}
	rules, err := s.conn.CountRules(t.Table)
	if err != nil {
		return 0, fmt.Errorf("read rules of table %s: %w", t.Name, err)
	}
	chains, err := s.conn.Chains(t.Table)
	if err != nil {
		return 0, fmt.Errorf("read chains of table %s: %w", t.Name, err)
	}
	repaired := 0
	// What an earlier process left may differ in rules that a count does not
	// show: the first comparison always writes the rules. It is atomic, so no
	// packet sees them missing.
	rewrite := s.generation == 0
	for _, c := range t.all() {
		if rewrite || !slices.Contains(chains, c.Name) || rules[c.Name] != len(c.Rules) {
			rewrite = true
			repaired++
		}
	}
	if rewrite {
		s.writeChainsAndSets(b, t)
	}
	for _, st := range t.sets {
		if st.set.Dynamic {
			continue
		}
		add, remove, err := s.compareSet(st)
		if err != nil {
			if !rewrite {
				s.writeChainsAndSets(b, t)
				rewrite = true
			}
			repaired++
		}
		b.DeleteElements(st.set, remove)
		b.AddElements(st.set, add)
		repaired += len(add) + len(remove)
	}
	return repaired, nil
}

// compareSet returns what is missing and what is too much. If the set cannot
// be read, all of it is missing.
func (s *Store) compareSet(st *setState) (add, remove []Element, err error) {
	found := make(map[string]bool, len(st.want))
	err = s.conn.Elements(st.set, func(e Element) {
		key := keyOf(&e)
		w := st.want[key]
		if w != nil && sameData(&w.Element, &e) {
			found[key] = true
			return
		}
		remove = append(remove, Element{Key: slices.Clone(e.Key), End: slices.Clone(e.End)})
	})
	for key, w := range st.want {
		if !found[key] {
			add = append(add, w.Element)
		}
	}
	return add, remove, err
}

func (s *Store) rebuild() *Batch {
	var b Batch
	for _, t := range s.tables {
		b.AddTable(t.Table)
		b.DeleteTable(t.Table)
		s.writeTable(&b, t)
	}
	return &b
}

func (s *Store) writeTable(b *Batch, t *tableState) {
	s.writeChainsAndSets(b, t)
	for _, st := range t.sets {
		all := make([]Element, 0, len(st.want))
		for _, w := range st.want {
			all = append(all, w.Element)
		}
		b.AddElements(st.set, all)
	}
}

func (s *Store) writeChainsAndSets(b *Batch, t *tableState) {
	b.AddTable(t.Table)
	for _, st := range t.sets {
		b.AddSet(st.set)
	}
	for _, c := range t.all() {
		b.AddChain(t.Table, c)
	}
	for _, c := range t.all() {
		b.SetRules(t.Table, c)
	}
}

func (t *tableState) all() []*Chain {
	names := slices.Sorted(maps.Keys(t.picked))
	all := make([]*Chain, 0, len(names)+len(t.base))
	for _, n := range names {
		all = append(all, t.picked[n])
	}
	return append(all, t.base...)
}

// dropUnusedChains forgets and removes the chains that no element goes to. It
// is tidiness only: what fails now is tried again by the next comparison.
func (s *Store) dropUnusedChains() {
	for _, t := range s.tables {
		used := map[string]bool{}
		for _, c := range t.base {
			used[c.Name] = true
		}
		for _, st := range t.sets {
			if st.set.Verdict {
				for _, w := range st.want {
					used[w.Verdict] = true
				}
			}
		}
		chains, err := s.conn.Chains(t.Table)
		if err != nil {
			return
		}
		var b Batch
		for _, name := range chains {
			if !used[name] {
				delete(t.picked, name)
				b.SetRules(t.Table, &Chain{Name: name})
				b.DeleteChain(t.Table, name)
			}
		}
		if s.commit(&b) != nil {
			return
		}
	}
}

// Remove deletes the tables from the kernel, if they are there.
func Remove(conn *Conn, tables ...Table) error {
	var b Batch
	for _, t := range tables {
		b.AddTable(t)
		b.DeleteTable(t)
	}
	return conn.Commit(&b)
}

func keyOf(e *Element) string {
	if e.End == nil {
		return string(e.Key)
	}
	return string(e.Key) + string(e.End)
}

func sameData(a, b *Element) bool {
	return string(a.Data) == string(b.Data) && a.Verdict == b.Verdict
}
