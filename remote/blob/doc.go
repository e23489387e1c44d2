// Package blob is where a vault's sealed objects lie: one narrow contract, and the stores that keep it.
//
// # The contract
//
// An object has a name and bytes, and never changes. Put makes it if there is none of that name, whole or not at all, and durably
// before it returns; of many that race for one name exactly one wins. That is the only synchronisation a vault
// uses. Reads see what was put. Listings are hints. See Store.
//
// Stores are composed: Retry, Metrics and others wrap a Store and are one. Package blobtest has the suite that every store passes.
//
// It imports remote only. Nothing here knows what the bytes mean.
package blob
