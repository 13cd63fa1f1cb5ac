// Package firewall holds what both backends do in nftables beside balancing:
// refusing connections to services without endpoints and to unused ports of
// service addresses, source ranges of load balancers, masquerade, and dropping
// what fits no connection.
//
// It reads model.Service and returns nft sets, chains and entries; the backend
// adds its own and gives all to one nft.Store.
package firewall
