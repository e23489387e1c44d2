// Package megatest lets tests use the clients that others wrote for MEGA. One address is compiled into them, so each test of them runs in a network and a mount
// namespace of its own, where that name is this machine's, and a throw-away authority is among those that are trusted.
//
// It imports nothing of megafs and is imported by tests only.
package megatest
