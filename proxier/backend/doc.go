// Package backend is the one interface between the proxier and a kernel:
// Backend. ../nftables and ../ipvs implement it, ../trace does so on paper;
// backendtest sends real traffic through an implementation.
package backend
