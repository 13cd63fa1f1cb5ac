package nft

import (
	"fmt"

	"github.com/google/nftables/expr"
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// Family is an nf_tables family.
type Family uint8

// The two families with NAT that we use; a table each keeps keys short.
const (
	IP  Family = unix.NFPROTO_IPV4
	IP6 Family = unix.NFPROTO_IPV6
)

// Table names a table.
type Table struct {
	Family Family
	Name   string
}

// Hook makes a chain a base chain.
type Hook struct {
	Type     string // "filter" or "nat"
	Num      uint32 // unix.NF_INET_…
	Priority int32
}

// Chain is a chain with all of its rules.
type Chain struct {
	Name  string
	Hook  *Hook
	Rules [][]expr.Any
}

// Type is the type of one field of a set's key or of a map's value: its length
// in bytes and the number by which the nft program knows it, so that it can
// list our sets.
type Type struct{ Len, Magic uint32 }

// Field types.
var (
	Addr4   = Type{4, 7}
	Addr6   = Type{16, 8}
	Proto   = Type{1, 12}
	Service = Type{2, 13}
	Mark    = Type{4, 19}
)

// Set is a set, or a map when it has Data or Verdict.
type Set struct {
	Table   Table
	Name    string
	Key     []Type
	Data    []Type
	Verdict bool
	// Interval sets have ranges as elements.
	Interval bool
	// Dynamic sets are filled by rules; their elements time out and belong to no Store.
	Dynamic bool
}

// Element is one element. In an Interval set Key and End are a range.
type Element struct {
	Key, End []byte
	Data     []byte // of a map
	Verdict  string // of a verdict map: the chain to go to, or Drop
}

// Drop as an element's verdict drops the packet.
const Drop = "\x00drop"

// Batch collects changes; Conn.Commit sends them.
type Batch struct {
	messages []netlink.Message
	setID    uint32
	err      error
}

// Empty tells whether there is nothing to commit.
func (b *Batch) Empty() bool { return len(b.messages) == 0 }

func (b *Batch) add(msg uint16, flags netlink.HeaderFlags, data attrs) {
	b.messages = append(b.messages, netlink.Message{
		Header: netlink.Header{Type: messageType(msg), Flags: netlink.Request | flags}, Data: data,
	})
}

// AddTable makes the table unless it exists.
func (b *Batch) AddTable(t Table) {
	a := attrs(header(uint8(t.Family), 0))
	a.text(unix.NFTA_TABLE_NAME, t.Name)
	b.add(unix.NFT_MSG_NEWTABLE, netlink.Create, a)
}

// DeleteTable removes the table with all that is in it. It must exist.
func (b *Batch) DeleteTable(t Table) {
	a := attrs(header(uint8(t.Family), 0))
	a.text(unix.NFTA_TABLE_NAME, t.Name)
	b.add(unix.NFT_MSG_DELTABLE, 0, a)
}

// AddChain makes the chain unless it exists, without its rules.
func (b *Batch) AddChain(t Table, c *Chain) {
	a := attrs(header(uint8(t.Family), 0))
	a.text(unix.NFTA_CHAIN_TABLE, t.Name)
	a.text(unix.NFTA_CHAIN_NAME, c.Name)
	if c.Hook != nil {
		at := a.open(unix.NFTA_CHAIN_HOOK | nested)
		a.be32(unix.NFTA_HOOK_HOOKNUM, c.Hook.Num)
		a.be32(unix.NFTA_HOOK_PRIORITY, uint32(c.Hook.Priority))
		a.close(at)
		a.text(unix.NFTA_CHAIN_TYPE, c.Hook.Type)
	}
	b.add(unix.NFT_MSG_NEWCHAIN, netlink.Create, a)
}

// SetRules replaces the rules of an existing chain.
func (b *Batch) SetRules(t Table, c *Chain) {
	a := attrs(header(uint8(t.Family), 0))
	a.text(unix.NFTA_RULE_TABLE, t.Name)
	a.text(unix.NFTA_RULE_CHAIN, c.Name)
	b.add(unix.NFT_MSG_DELRULE, 0, a)
	for _, rule := range c.Rules {
		b.addRule(t, c.Name, rule)
	}
}

func (b *Batch) addRule(t Table, chain string, exprs []expr.Any) {
	a := attrs(header(uint8(t.Family), 0))
	a.text(unix.NFTA_RULE_TABLE, t.Name)
	a.text(unix.NFTA_RULE_CHAIN, chain)
	list := a.open(unix.NFTA_RULE_EXPRESSIONS | nested)
	for _, e := range exprs {
		if own, ok := e.(*origDaddr); ok {
			a.bytes(unix.NFTA_LIST_ELEM|nested, own.encode())
			continue
		}
		data, err := expr.Marshal(byte(t.Family), e)
		if err != nil {
			b.err = fmt.Errorf("encode rule of chain %s: %w", chain, err)
			return
		}
		a.bytes(unix.NFTA_LIST_ELEM|nested, data)
	}
	a.close(list)
	b.add(unix.NFT_MSG_NEWRULE, netlink.Create|netlink.Append, a)
}

// DeleteChain removes a chain that nothing points to any more.
func (b *Batch) DeleteChain(t Table, name string) {
	a := attrs(header(uint8(t.Family), 0))
	a.text(unix.NFTA_CHAIN_TABLE, t.Name)
	a.text(unix.NFTA_CHAIN_NAME, name)
	b.add(unix.NFT_MSG_DELCHAIN, 0, a)
}

// AddSet makes the set unless it exists. A set of the same name but of another
// kind is an error.
func (b *Batch) AddSet(s *Set) {
	b.setID++
	a := attrs(header(uint8(s.Table.Family), 0))
	a.text(unix.NFTA_SET_TABLE, s.Table.Name)
	a.text(unix.NFTA_SET_NAME, s.Name)
	keyType, keyLen := concat(s.Key)
	flags := uint32(0)
	if len(s.Key) > 1 {
		const setConcat = 0x80 // NFT_SET_CONCAT
		flags |= setConcat
	}
	if s.Interval {
		flags |= unix.NFT_SET_INTERVAL
	}
	if s.Dynamic {
		flags |= unix.NFT_SET_EVAL | unix.NFT_SET_TIMEOUT
	}
	if s.Verdict || s.Data != nil {
		flags |= unix.NFT_SET_MAP
	}
	a.be32(unix.NFTA_SET_FLAGS, flags)
	a.be32(unix.NFTA_SET_KEY_TYPE, keyType)
	a.be32(unix.NFTA_SET_KEY_LEN, keyLen)
	a.be32(unix.NFTA_SET_ID, b.setID)
	switch {
	case s.Verdict:
		a.be32(unix.NFTA_SET_DATA_TYPE, unix.NFT_DATA_VERDICT)
	case s.Data != nil:
		dataType, dataLen := concat(s.Data)
		a.be32(unix.NFTA_SET_DATA_TYPE, dataType)
		a.be32(unix.NFTA_SET_DATA_LEN, dataLen)
	}
	if len(s.Key) > 1 {
		const descConcat, fieldLen = 2, 1 // NFTA_SET_DESC_CONCAT, NFTA_SET_FIELD_LEN
		desc := a.open(unix.NFTA_SET_DESC | nested)
		fields := a.open(descConcat | nested)
		for _, k := range s.Key {
			f := a.open(unix.NFTA_LIST_ELEM | nested)
			a.be32(fieldLen, k.Len)
			a.close(f)
		}
		a.close(fields)
		a.close(desc)
	}
	b.add(unix.NFT_MSG_NEWSET, netlink.Create, a)
}

// concat returns the type number and the length of concatenated fields: six
// bits and whole 4-byte registers each.
func concat(fields []Type) (magic, length uint32) {
	for _, f := range fields {
		magic = magic<<6 | f.Magic
		length += (f.Len + 3) &^ 3
	}
	if len(fields) == 1 {
		length = fields[0].Len
	}
	return magic, length
}

// AddElements adds elements; one that exists with other data is an error.
func (b *Batch) AddElements(s *Set, elements []Element) {
	b.elements(unix.NFT_MSG_NEWSETELEM, netlink.Create, s, elements)
}

// DeleteElements removes elements, all of which must exist.
func (b *Batch) DeleteElements(s *Set, elements []Element) {
	b.elements(unix.NFT_MSG_DELSETELEM, 0, s, elements)
}

// elements writes messages of less than 64 KiB, the most that a nested
// attribute's length can say.
func (b *Batch) elements(msg uint16, flags netlink.HeaderFlags, s *Set, elements []Element) {
	const full = 60 << 10
	for len(elements) > 0 {
		a := make(attrs, 0, min(full+512, 128+len(elements)*128))
		a = append(a, header(uint8(s.Table.Family), 0)...)
		a.text(unix.NFTA_SET_ELEM_LIST_TABLE, s.Table.Name)
		a.text(unix.NFTA_SET_ELEM_LIST_SET, s.Name)
		list := a.open(unix.NFTA_SET_ELEM_LIST_ELEMENTS | nested)
		n := 0
		for ; n < len(elements) && len(a) < full; n++ {
			a.element(s, &elements[n], msg == unix.NFT_MSG_NEWSETELEM)
		}
		a.close(list)
		b.add(msg, flags, a)
		elements = elements[n:]
	}
}

const keyEnd = 10 // NFTA_SET_ELEM_KEY_END

func (a *attrs) element(s *Set, e *Element, withData bool) {
	elem := a.open(unix.NFTA_LIST_ELEM | nested)
	key := a.open(unix.NFTA_SET_ELEM_KEY | nested)
	a.bytes(unix.NFTA_DATA_VALUE, e.Key)
	a.close(key)
	if e.End != nil {
		end := a.open(keyEnd | nested)
		a.bytes(unix.NFTA_DATA_VALUE, e.End)
		a.close(end)
	}
	if withData && (s.Verdict || s.Data != nil) {
		data := a.open(unix.NFTA_SET_ELEM_DATA | nested)
		if s.Verdict {
			v := a.open(unix.NFTA_DATA_VERDICT | nested)
			if e.Verdict == Drop {
				a.be32(unix.NFTA_VERDICT_CODE, 0) // NF_DROP
			} else {
				a.be32(unix.NFTA_VERDICT_CODE, gotoCode)
				a.text(unix.NFTA_VERDICT_CHAIN, e.Verdict)
			}
			a.close(v)
		} else {
			a.bytes(unix.NFTA_DATA_VALUE, e.Data)
		}
		a.close(data)
	}
	a.close(elem)
}

const gotoCode = 0xfffffffc // NFT_GOTO, -4

func parseElement(b []byte) Element {
	var e Element
	eachAttr(b, func(typ uint16, data []byte) {
		eachAttr(data, func(inner uint16, v []byte) {
			switch {
			case typ == unix.NFTA_SET_ELEM_KEY && inner == unix.NFTA_DATA_VALUE:
				e.Key = v
			case typ == keyEnd && inner == unix.NFTA_DATA_VALUE:
				e.End = v
			case typ == unix.NFTA_SET_ELEM_DATA && inner == unix.NFTA_DATA_VALUE:
				e.Data = v
			case typ == unix.NFTA_SET_ELEM_DATA && inner == unix.NFTA_DATA_VERDICT:
				e.Verdict = Drop
				eachAttr(v, func(t uint16, name []byte) {
					if t == unix.NFTA_VERDICT_CHAIN {
						e.Verdict = cString(name)
					}
				})
			}
		})
	})
	return e
}
