// Command benchmark times the same work on megafs, on the disk below it, and on gocryptfs when that is installed, in one run, and prints one
// table: the median of each, and ratios. Only ratios within a run mean anything on a shared machine.
package main
