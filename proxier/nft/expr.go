package nft

import (
	"encoding/binary"
	"net/netip"

	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// Reg0 is the first of the sixteen 4-byte registers; a value takes as many in
// a row as it needs.
const Reg0 uint32 = unix.NFT_REG32_00

// AddrLen returns the length of an address in bytes.
func (f Family) AddrLen() uint32 {
	if f == IP {
		return 4
	}
	return 16
}

// AddrRegs returns how many registers an address takes.
func (f Family) AddrRegs() uint32 { return f.AddrLen() / 4 }

// Addr returns the set type of an address.
func (f Family) Addr() Type {
	if f == IP {
		return Addr4
	}
	return Addr6
}

// Has tells whether a belongs to the family.
func (f Family) Has(a netip.Addr) bool { return a.Is4() == (f == IP) }

// Daddr loads the destination address.
func (f Family) Daddr(reg uint32) expr.Any {
	offset := uint32(16)
	if f == IP6 {
		offset = 24
	}
	return &expr.Payload{DestRegister: reg, Base: expr.PayloadBaseNetworkHeader, Offset: offset, Len: f.AddrLen()}
}

// Saddr loads the source address.
func (f Family) Saddr(reg uint32) expr.Any {
	offset := uint32(12)
	if f == IP6 {
		offset = 8
	}
	return &expr.Payload{DestRegister: reg, Base: expr.PayloadBaseNetworkHeader, Offset: offset, Len: f.AddrLen()}
}

// ProtoDport loads the protocol and, in the next register, the destination port.
func ProtoDport(reg uint32) []expr.Any {
	return []expr.Any{&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: reg}, Dport(reg + 1)}
}

// Dport loads the destination port.
func Dport(reg uint32) expr.Any {
	return &expr.Payload{DestRegister: reg, Base: expr.PayloadBaseTransportHeader, Offset: 2, Len: 2}
}

// OrigDest loads address, protocol and port of the destination as they were
// before destination NAT.
func (f Family) OrigDest(reg uint32) []expr.Any {
	return []expr.Any{
		&origDaddr{reg: reg, family: f},
		&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: reg + f.AddrRegs()},
		&expr.Ct{Key: expr.CtKeyPROTODST, Register: reg + f.AddrRegs() + 1},
	}
}

// origDaddr loads the destination address from before translation, by the keys
// that say the address's length: nft does not list the one that does not,
// which is all that package expr knows.
type origDaddr struct {
	expr.Any // for the interface; never called
	reg      uint32
	family   Family
}

func (o *origDaddr) encode() []byte {
	const dstIP, dstIP6, original = 20, 22, 0 // NFT_CT_DST_IP, NFT_CT_DST_IP6, IP_CT_DIR_ORIGINAL
	key := uint32(dstIP)
	if o.family == IP6 {
		key = dstIP6
	}
	var a attrs
	a.text(unix.NFTA_EXPR_NAME, "ct")
	data := a.open(unix.NFTA_EXPR_DATA | nested)
	a.be32(unix.NFTA_CT_KEY, key)
	a.be32(unix.NFTA_CT_DREG, o.reg)
	a.bytes(unix.NFTA_CT_DIRECTION, []byte{original})
	a.close(data)
	return a
}

// CtDNAT goes on if the packet's destination was translated.
func CtDNAT() []expr.Any {
	const dnat = 1 << 5 // IPS_DST_NAT
	return []expr.Any{
		&expr.Ct{Key: expr.CtKeySTATUS, Register: Reg0},
		&expr.Bitwise{SourceRegister: Reg0, DestRegister: Reg0, Len: 4, Mask: Uint32(dnat), Xor: Uint32(0)},
		&expr.Cmp{Op: expr.CmpOpNeq, Register: Reg0, Data: Uint32(0)},
	}
}

// Dest loads address, protocol and port of the destination.
func (f Family) Dest(reg uint32) []expr.Any {
	return append([]expr.Any{f.Daddr(reg)}, ProtoDport(reg+f.AddrRegs())...)
}

// In goes on if the value at reg is in the set, or if it is not when not is true.
func In(s *Set, reg uint32, not bool) expr.Any {
	return &expr.Lookup{SetName: s.Name, SourceRegister: reg, Invert: not}
}

// Get looks the value at reg up in a map and loads what it finds to dest; without a find the rule ends.
func Get(s *Set, reg, dest uint32) expr.Any {
	return &expr.Lookup{SetName: s.Name, SourceRegister: reg, DestRegister: dest, IsDestRegSet: true}
}

// Vmap follows the verdict that the map has for the value at reg, if any.
func Vmap(s *Set, reg uint32) expr.Any { return Get(s, reg, unix.NFT_REG_VERDICT) }

// SrcLocal goes on if the packet's source is an address of this machine.
func SrcLocal() []expr.Any {
	return local(&expr.Fib{Register: Reg0, ResultADDRTYPE: true, FlagSADDR: true})
}

// DstLocal goes on if the packet's destination is an address of this machine.
func DstLocal() []expr.Any {
	return local(&expr.Fib{Register: Reg0, ResultADDRTYPE: true, FlagDADDR: true})
}

func local(f *expr.Fib) []expr.Any {
	return []expr.Any{f, &expr.Cmp{Op: expr.CmpOpEq, Register: Reg0, Data: Uint32(unix.RTN_LOCAL)}}
}

// SrcIn goes on if the source address is in p, or not in it when not is true.
func (f Family) SrcIn(p netip.Prefix, not bool) []expr.Any { return f.inPrefix(f.Saddr(Reg0), p, not) }

// DstIn is the same for the destination address.
func (f Family) DstIn(p netip.Prefix, not bool) []expr.Any { return f.inPrefix(f.Daddr(Reg0), p, not) }

func (f Family) inPrefix(load expr.Any, p netip.Prefix, not bool) []expr.Any {
	op := expr.CmpOpEq
	if not {
		op = expr.CmpOpNeq
	}
	mask := make([]byte, f.AddrLen())
	for i := range p.Bits() {
		mask[i/8] |= 0x80 >> (i % 8)
	}
	return []expr.Any{
		load,
		&expr.Bitwise{SourceRegister: Reg0, DestRegister: Reg0, Len: f.AddrLen(), Mask: mask, Xor: make([]byte, f.AddrLen())},
		&expr.Cmp{Op: op, Register: Reg0, Data: p.Masked().Addr().AsSlice()},
	}
}

// CtNew goes on if the packet starts a connection.
func CtNew() []expr.Any { return ctState(expr.CtStateBitNEW) }

// CtInvalid goes on if the packet fits no connection, or not into its own.
func CtInvalid() []expr.Any { return ctState(expr.CtStateBitINVALID) }

func ctState(bit uint32) []expr.Any {
	return []expr.Any{
		&expr.Ct{Key: expr.CtKeySTATE, Register: Reg0},
		&expr.Bitwise{SourceRegister: Reg0, DestRegister: Reg0, Len: 4, Mask: Uint32(bit), Xor: Uint32(0)},
		&expr.Cmp{Op: expr.CmpOpNeq, Register: Reg0, Data: Uint32(0)},
	}
}

// OrMark sets a bit of the packet's mark.
func OrMark(bit uint32) []expr.Any {
	return []expr.Any{
		&expr.Meta{Key: expr.MetaKeyMARK, Register: Reg0},
		&expr.Bitwise{SourceRegister: Reg0, DestRegister: Reg0, Len: 4, Mask: Uint32(^bit), Xor: Uint32(bit)},
		&expr.Meta{Key: expr.MetaKeyMARK, SourceRegister: true, Register: Reg0},
	}
}

// HasMark goes on if the bit of the packet's mark is set, and clears it.
func HasMark(bit uint32) []expr.Any {
	return []expr.Any{
		&expr.Meta{Key: expr.MetaKeyMARK, Register: Reg0},
		&expr.Bitwise{SourceRegister: Reg0, DestRegister: Reg0, Len: 4, Mask: Uint32(bit), Xor: Uint32(0)},
		&expr.Cmp{Op: expr.CmpOpNeq, Register: Reg0, Data: Uint32(0)},
		&expr.Meta{Key: expr.MetaKeyMARK, Register: Reg0},
		&expr.Bitwise{SourceRegister: Reg0, DestRegister: Reg0, Len: 4, Mask: Uint32(^bit), Xor: Uint32(0)},
		&expr.Meta{Key: expr.MetaKeyMARK, SourceRegister: true, Register: Reg0},
	}
}

// Masquerade gives the packet the address of the link that it leaves by, and a random port.
func Masquerade() expr.Any { return &expr.Masq{FullyRandom: true} }

// DropPacket drops.
func DropPacket() expr.Any { return &expr.Verdict{Kind: expr.VerdictDrop} }

// Refuse returns the rules that answer "connection refused". TCP gets a reset,
// as the kernel sends only few ICMP errors a second to each client.
func (f Family) Refuse() [][]expr.Any {
	code := uint8(3) // ICMP port unreachable
	if f == IP6 {
		code = 4 // the same in ICMPv6
	}
	return [][]expr.Any{
		{
			&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: Reg0},
			&expr.Cmp{Op: expr.CmpOpEq, Register: Reg0, Data: []byte{unix.IPPROTO_TCP}},
			&expr.Reject{Type: unix.NFT_REJECT_TCP_RST},
		},
		{&expr.Reject{Type: unix.NFT_REJECT_ICMP_UNREACH, Code: code}},
	}
}

// Goto goes to the chain for good.
func Goto(chain string) expr.Any { return &expr.Verdict{Kind: expr.VerdictGoto, Chain: chain} }

// Jump goes to the chain and comes back.
func Jump(chain string) expr.Any { return &expr.Verdict{Kind: expr.VerdictJump, Chain: chain} }

// Rule joins expressions.
func Rule(parts ...any) []expr.Any {
	var out []expr.Any
	for _, p := range parts {
		switch p := p.(type) {
		case []expr.Any:
			out = append(out, p...)
		case expr.Any:
			out = append(out, p)
		}
	}
	return out
}

// Uint32 encodes a number as registers hold it.
func Uint32(v uint32) []byte { return binary.NativeEndian.AppendUint32(nil, v) }
