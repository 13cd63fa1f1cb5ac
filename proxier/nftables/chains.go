package nftables

import (
	"time"

	"github.com/skiffcluster/skiff/proxier/nft"
)

// chains collects those that entries go to, each once.
type chains struct {
	list     map[nft.Table][]*nft.Chain
	picks    map[pick]bool
	remember map[nft.Table]map[time.Duration]bool
}

func newChains() *chains {
	return &chains{list: map[nft.Table][]*nft.Chain{}, picks: map[pick]bool{}, remember: map[nft.Table]map[time.Duration]bool{}}
}

// need adds the chains of a way to a pool.
func (c *chains) need(t *table, w *branch) {
	if len(w.pool) > 0 && !c.picks[w.pick] {
		c.picks[w.pick] = true
		c.list[t.ref] = append(c.list[t.ref], t.pickChain(w.pick))
	}
	if w.sticky && !c.remember[t.ref][w.affinity] {
		if c.remember[t.ref] == nil {
			c.remember[t.ref] = map[time.Duration]bool{}
		}
		c.remember[t.ref][w.affinity] = true
		c.list[t.ref] = append(c.list[t.ref], t.rememberChain(w.affinity))
	}
}
