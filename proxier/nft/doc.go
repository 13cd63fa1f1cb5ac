// Package nft writes nf_tables objects by netlink: tables, chains, rules, sets
// and set elements, in batches that the kernel takes wholly or not at all, and
// reads set elements back. There is no nft program on the path and nothing is
// kept here.
//
// Start at Conn and Batch; Store (store.go) keeps sets of elements equal to what
// is wanted by writing differences only. Expressions come from
// github.com/google/nftables/expr; the messages are made here, since adding a
// hundred thousand elements must cost milliseconds.
package nft
