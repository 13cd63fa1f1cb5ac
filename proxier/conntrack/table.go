package conntrack

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// flow is one entry of the kernel's table.
type flow struct {
	protocol uint8
	// As the client sent: from, to. As the answer comes: from server, to back.
	from, to, server, back netip.AddrPort
	tuple                  []byte // names the entry
}

// table speaks to the kernel's connection tracking. The usual library does not
// read the ports of SCTP.
type table struct{ *netlink.Conn }

func openTable(path string) (table, error) {
	cfg := &netlink.Config{}
	if path != "" {
		ns, err := os.Open(path)
		if err != nil {
			return table{}, fmt.Errorf("open network namespace: %w", err)
		}
		defer func() { _ = ns.Close() }()
		cfg.NetNS = int(ns.Fd())
	}
	c, err := netlink.Dial(unix.NETLINK_NETFILTER, cfg)
	if err != nil {
		return table{}, fmt.Errorf("open conntrack: %w", err)
	}
	return table{c}, nil
}

// Messages of ctnetlink and attributes of its tuples
// (linux/netfilter/nfnetlink_conntrack.h).
const (
	msgGet, msgDelete     = 1, 2
	tupleOrig, tupleReply = 1, 2 // CTA_TUPLE_…
	tupleIP, tupleProto   = 1, 2
	protoNum              = 1 // CTA_PROTO_NUM
	protoSrc, protoDst    = 2, 3
)

func request(msg uint16, family uint8, flags netlink.HeaderFlags, data []byte) netlink.Message {
	return netlink.Message{
		Header: netlink.Header{Type: netlink.HeaderType(unix.NFNL_SUBSYS_CTNETLINK<<8 | msg), Flags: netlink.Request | flags},
		Data:   append([]byte{family, unix.NFNETLINK_V0, 0, 0}, data...),
	}
}

// list returns all entries of a family. Those that came or went meanwhile may
// be missing.
func (t table) list(family uint8) ([]flow, error) {
	answers, err := t.Execute(request(msgGet, family, netlink.Dump, nil))
	if err != nil {
		return nil, err
	}
	flows := make([]flow, 0, len(answers))
	for _, m := range answers {
		if len(m.Data) < 4 {
			continue
		}
		f, err := parseFlow(m.Data[4:])
		if err != nil {
			return nil, fmt.Errorf("read an entry: %w", err)
		}
		flows = append(flows, f)
	}
	return flows, nil
}

// remove deletes an entry; one that is gone is no error.
func (t table) remove(family uint8, f *flow) error {
	data, err := netlink.MarshalAttributes([]netlink.Attribute{{Type: netlink.Nested | tupleOrig, Data: f.tuple}})
	if err != nil {
		return err
	}
	_, err = t.Execute(request(msgDelete, family, netlink.Acknowledge, data))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

func parseFlow(b []byte) (flow, error) {
	var f flow
	ad, err := netlink.NewAttributeDecoder(b)
	if err != nil {
		return f, err
	}
	for ad.Next() {
		switch ad.Type() {
		case tupleOrig:
			f.tuple = ad.Bytes()
			ad.Nested(func(ad *netlink.AttributeDecoder) error {
				f.protocol, f.from, f.to = parseTuple(ad)
				return nil
			})
		case tupleReply:
			ad.Nested(func(ad *netlink.AttributeDecoder) error {
				_, f.server, f.back = parseTuple(ad)
				return nil
			})
		}
	}
	return f, ad.Err()
}

func parseTuple(ad *netlink.AttributeDecoder) (protocol uint8, from, to netip.AddrPort) {
	var src, dst netip.Addr
	var srcPort, dstPort uint16
	for ad.Next() {
		what := ad.Type()
		ad.Nested(func(ad *netlink.AttributeDecoder) error {
			for ad.Next() {
				v := ad.Bytes()
				switch a, isAddr := netip.AddrFromSlice(v); {
				case what == tupleIP && isAddr && ad.Type()%2 == 1: // CTA_IP_V4_SRC, CTA_IP_V6_SRC
					src = a
				case what == tupleIP && isAddr:
					dst = a
				case what == tupleProto && ad.Type() == protoNum && len(v) == 1:
					protocol = v[0]
				case what == tupleProto && ad.Type() == protoSrc && len(v) == 2:
					srcPort = binary.BigEndian.Uint16(v)
				case what == tupleProto && ad.Type() == protoDst && len(v) == 2:
					dstPort = binary.BigEndian.Uint16(v)
				}
			}
			return nil
		})
	}
	return protocol, netip.AddrPortFrom(src, srcPort), netip.AddrPortFrom(dst, dstPort)
}
