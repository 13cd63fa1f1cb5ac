package nft

import "encoding/binary"

// attrs builds netlink attributes in one growing buffer.
type attrs []byte

const nested = 0x8000 // NLA_F_NESTED

func (a *attrs) bytes(typ uint16, parts ...[]byte) {
	at := a.open(typ)
	for _, p := range parts {
		*a = append(*a, p...)
	}
	a.close(at)
}

func (a *attrs) text(typ uint16, s string) {
	at := a.open(typ)
	*a = append(append(*a, s...), 0)
	a.close(at)
}

func (a *attrs) be32(typ uint16, v uint32) {
	at := a.open(typ)
	*a = binary.BigEndian.AppendUint32(*a, v)
	a.close(at)
}

// open starts an attribute and returns where; close completes it.
func (a *attrs) open(typ uint16) int {
	at := len(*a)
	*a = binary.NativeEndian.AppendUint16(append(*a, 0, 0), typ)
	return at
}

func (a *attrs) close(at int) {
	binary.NativeEndian.PutUint16((*a)[at:], uint16(len(*a)-at))
	for len(*a)%4 != 0 {
		*a = append(*a, 0)
	}
}

// eachAttr calls f for every attribute in b, with the flags taken off its type.
func eachAttr(b []byte, f func(typ uint16, data []byte)) {
	for len(b) >= 4 {
		n := int(binary.NativeEndian.Uint16(b))
		if n < 4 || n > len(b) {
			return
		}
		f(binary.NativeEndian.Uint16(b[2:])&0x3fff, b[4:n])
		n = (n + 3) &^ 3
		if n > len(b) {
			return
		}
		b = b[n:]
	}
}
