// Package model turns Services, EndpointSlices and the Node into what one
// node's kernel must do with packets. It is pure: no client, no clock, no
// kernel.
//
// Plan decides one Service; Tracker keeps what was decided and hands out only
// what changed. The backends (../nftables, ../ipvs) read model.Service and
// write the kernel; ../trace sends a packet through it on paper.
package model
