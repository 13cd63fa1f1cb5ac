package nft

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// answerTime is how long the kernel may take for one batch. A hundred thousand
// elements take it well under a second.
const answerTime = time.Minute

// Conn speaks to nf_tables of one network namespace. It is not safe for
// concurrent use.
type Conn struct {
	path string
	nl   *netlink.Conn
	wide bool // the kernel knows that we take large answers
}

// Open connects to the network namespace at path, such as /run/netns/blue; an
// empty path is the caller's own.
func Open(path string) (*Conn, error) {
	c := &Conn{path: path}
	if err := c.dial(); err != nil {
		return nil, err
	}
	if _, err := c.Generation(); err != nil {
		_ = c.Close()
		return nil, fmt.Errorf("ask the kernel for nftables: %w", err)
	}
	return c, nil
}

func (c *Conn) dial() error {
	cfg := &netlink.Config{}
	if c.path != "" {
		ns, err := os.Open(c.path)
		if err != nil {
			return fmt.Errorf("open network namespace: %w", err)
		}
		defer func() { _ = ns.Close() }()
		cfg.NetNS = int(ns.Fd())
	}
	nl, err := netlink.Dial(unix.NETLINK_NETFILTER, cfg)
	if err != nil {
		return fmt.Errorf("open netlink socket: %w", err)
	}
	c.nl, c.wide = nl, false
	return nil
}

// Close ends the connection.
func (c *Conn) Close() error {
	if c.nl == nil {
		return nil
	}
	err := c.nl.Close()
	c.nl = nil
	return err
}

// Commit sends a batch: all of it takes effect, or nothing and an error is returned.
func (c *Conn) Commit(b *Batch) error {
	if len(b.messages) == 0 {
		return nil
	}
	if b.err != nil {
		return b.err
	}
	if err := c.ready(); err != nil {
		return err
	}
	err := c.commit(b)
	if err != nil {
		// Answers to what followed the failure may still be queued.
		_ = c.Close()
	}
	return err
}

func (c *Conn) ready() error {
	if c.nl == nil {
		if err := c.dial(); err != nil {
			return err
		}
	}
	return c.nl.SetDeadline(time.Now().Add(answerTime))
}

func (c *Conn) commit(b *Batch) error {
	messages := make([]netlink.Message, 0, len(b.messages)+2)
	messages = append(messages, netlink.Message{
		Header: netlink.Header{Type: unix.NFNL_MSG_BATCH_BEGIN, Flags: netlink.Request},
		Data:   header(0, unix.NFNL_SUBSYS_NFTABLES),
	})
	messages = append(messages, b.messages...)
	// The kernel answers an error to any message that fails. Success is told by
	// the last message's acknowledgement, which comes after the commit.
	messages[len(messages)-1].Header.Flags |= netlink.Acknowledge
	messages = append(messages, netlink.Message{
		Header: netlink.Header{Type: unix.NFNL_MSG_BATCH_END, Flags: netlink.Request},
		Data:   header(0, unix.NFNL_SUBSYS_NFTABLES),
	})
	size := 0
	for i := range messages {
		size += len(messages[i].Data) + 64
	}
	// One batch is one datagram, which must fit the send buffer.
	if err := c.nl.SetWriteBuffer(max(2*size, 1<<20)); err != nil {
		return fmt.Errorf("grow send buffer to %d bytes: %w", 2*size, err)
	}
	sent, err := c.nl.SendMessages(messages)
	if err != nil {
		return fmt.Errorf("send %d nftables messages: %w", len(b.messages), err)
	}
	last := sent[len(sent)-2].Header.Sequence
	for {
		answers, err := c.nl.Receive()
		if err != nil {
			return fmt.Errorf("nftables batch of %d messages: %w", len(b.messages), err)
		}
		for _, m := range answers {
			if m.Header.Type == netlink.Error && m.Header.Sequence == last {
				return nil
			}
		}
	}
}

// Generation returns the number of the ruleset's current version in this
// network namespace. Every commit by anybody raises it.
func (c *Conn) Generation() (uint32, error) {
	answers, err := c.ask(unix.NFT_MSG_GETGEN, netlink.Request, header(0, 0))
	if err != nil {
		return 0, err
	}
	var gen uint32
	for _, m := range answers {
		if len(m.Data) > 4 {
			eachAttr(m.Data[4:], func(typ uint16, data []byte) {
				if typ == unix.NFTA_GEN_ID && len(data) == 4 {
					gen = binary.BigEndian.Uint32(data)
				}
			})
		}
	}
	return gen, nil
}

// HasTable tells whether the table exists.
func (c *Conn) HasTable(t Table) (bool, error) {
	a := attrs(header(uint8(t.Family), 0))
	a.text(unix.NFTA_TABLE_NAME, t.Name)
	_, err := c.ask(unix.NFT_MSG_GETTABLE, netlink.Request, a)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil, err
}

// Chains returns the names of the table's chains.
func (c *Conn) Chains(t Table) ([]string, error) {
	answers, err := c.dump(unix.NFT_MSG_GETCHAIN, header(uint8(t.Family), 0))
	if err != nil {
		return nil, err
	}
	var names []string
	for _, m := range answers {
		var table, name string
		eachAttr(m.Data[4:], func(typ uint16, data []byte) {
			switch typ {
			case unix.NFTA_CHAIN_TABLE:
				table = cString(data)
			case unix.NFTA_CHAIN_NAME:
				name = cString(data)
			}
		})
		if table == t.Name {
			names = append(names, name)
		}
	}
	return names, nil
}

// CountRules returns how many rules each chain of the table has.
func (c *Conn) CountRules(t Table) (map[string]int, error) {
	a := attrs(header(uint8(t.Family), 0))
	a.text(unix.NFTA_RULE_TABLE, t.Name)
	answers, err := c.dump(unix.NFT_MSG_GETRULE, a)
	if err != nil {
		return nil, err
	}
	counts := map[string]int{}
	for _, m := range answers {
		eachAttr(m.Data[4:], func(typ uint16, data []byte) {
			if typ == unix.NFTA_RULE_CHAIN {
				counts[cString(data)]++
			}
		})
	}
	return counts, nil
}

// Elements calls f for each element of the set. The slices are valid during the call only.
func (c *Conn) Elements(s *Set, f func(Element)) error {
	a := attrs(header(uint8(s.Table.Family), 0))
	a.text(unix.NFTA_SET_ELEM_LIST_TABLE, s.Table.Name)
	a.text(unix.NFTA_SET_ELEM_LIST_SET, s.Name)
	answers, err := c.dump(unix.NFT_MSG_GETSETELEM, a)
	if err != nil {
		return fmt.Errorf("read set %s: %w", s.Name, err)
	}
	for _, m := range answers {
		eachAttr(m.Data[4:], func(typ uint16, list []byte) {
			if typ == unix.NFTA_SET_ELEM_LIST_ELEMENTS {
				eachAttr(list, func(_ uint16, e []byte) { f(parseElement(e)) })
			}
		})
	}
	return nil
}

func (c *Conn) dump(msg uint16, data []byte) ([]netlink.Message, error) {
	for try := 0; ; try++ {
		answers, err := c.ask(msg, netlink.Request|netlink.Dump, data)
		// EINTR: the ruleset changed during the dump. Others' changes are rare.
		if errors.Is(err, unix.EINTR) && try < 20 {
			continue
		}
		return answers, err
	}
}

func (c *Conn) ask(msg uint16, flags netlink.HeaderFlags, data []byte) ([]netlink.Message, error) {
	if err := c.ready(); err != nil {
		return nil, err
	}
	req := netlink.Message{Header: netlink.Header{Type: messageType(msg), Flags: flags}, Data: data}
	sent, err := c.nl.Send(req)
	if err != nil {
		return nil, fmt.Errorf("send nftables request: %w", err)
	}
	if flags&netlink.Dump == netlink.Dump {
		c.widen()
	}
	answers, err := c.nl.Receive()
	if err != nil {
		_ = c.Close()
		return nil, err
	}
	for _, m := range answers {
		const dumpInterrupted = 0x10 // NLM_F_DUMP_INTR
		if m.Header.Flags&dumpInterrupted != 0 && flags&netlink.Dump == netlink.Dump {
			return nil, unix.EINTR
		}
		if m.Header.Sequence != sent.Header.Sequence {
			_ = c.Close()
			return nil, fmt.Errorf("answer %d to nftables request %d", m.Header.Sequence, sent.Header.Sequence)
		}
	}
	return answers, nil
}

// widen makes the kernel dump in pieces of 32 KiB, by looking at what waits with
// a buffer of that size. It finds its place in a set anew for each piece: in a
// set of 100,000 elements small pieces take four times as long.
func (c *Conn) widen() {
	if c.wide {
		return
	}
	raw, err := c.nl.SyscallConn()
	if err != nil {
		return
	}
	buf := make([]byte, 32<<10)
	_ = raw.Read(func(fd uintptr) bool {
		_, _, err := unix.Recvfrom(int(fd), buf, unix.MSG_PEEK|unix.MSG_DONTWAIT)
		return !errors.Is(err, unix.EAGAIN)
	})
	c.wide = true
}

func messageType(msg uint16) netlink.HeaderType {
	return netlink.HeaderType(unix.NFNL_SUBSYS_NFTABLES<<8 | msg)
}

// header is struct nfgenmsg.
func header(family uint8, resource uint16) []byte {
	return append(make([]byte, 0, 64), family, unix.NFNETLINK_V0, byte(resource>>8), byte(resource))
}

func cString(b []byte) string {
	for i, c := range b {
		if c == 0 {
			return string(b[:i])
		}
	}
	return string(b)
}
