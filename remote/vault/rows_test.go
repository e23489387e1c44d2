package vault

import (
	_ "embed"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"

	"megafs/remote/remotetest"
)

// What a hostile store, or one who held the keys, can do, and the tests that do it. Paths are those of packages; most tests run over a store in
// memory and over a folder, and those of fs through a mount.
//
//	V01 a bit of content            vault.TestP4_V01ToV12Content vault.TestP4_V01V02V06V08EveryByte fs.TestP4HostileMount
//	V02 a header                    vault.TestP4_V01ToV12Content vault.TestP4_V01V02V06V08EveryByte crypto.TestHeaderBeforeChunks
//	V03 one object for another      vault.TestP4_V01ToV12Content fs.TestP4HostileMount
//	V04 chunks exchanged            vault.TestP4_V01ToV12Content fs.TestP4HostileMount crypto.TestChunksBelongToTheirPlace
//	V05 a chunk of another          vault.TestP4_V01ToV12Content fs.TestP4HostileMount crypto.TestChunksBelongToTheirPlace
//	V06 cut                         vault.TestP4_V01ToV12Content vault.TestP4_V01V02V06V08EveryByte fs.TestP4HostileMount
//	V07 emptied                     vault.TestP4_V01ToV12Content vault.TestP4_V16V17V18V19HostileLog fs.TestP4HostileMount
//	V08 extended                    vault.TestP4_V01ToV12Content vault.TestP4_V01V02V06V08EveryByte fs.TestP4HostileMount
//	V09 yesterday's bytes           vault.TestP4_V01ToV12Content
//	V10 zeros                       vault.TestP4_V01ToV12Content fs.TestP4HostileMount
//	V11 beheaded                    vault.TestP4_V01ToV12Content fs.TestP4HostileMount
//	V12 gone                        vault.TestP4_V01ToV12Content vault.TestP4_V12ContentTaken vault.TestP4_V12NoPlainFile fs.TestP4HostileMount
//	V13 wrong ranges                vault.TestP4_V13WrongRange vault.TestP4_V13WholeObjects fs.TestP4HostileMount
//	V14 another vault's             vault.TestP4_V14V15V17Foreign crypto.TestNothingStandsForAnother
//	V15 another kind                vault.TestP4_V14V15V17Foreign crypto.TestNothingStandsForAnother fs.TestP4HostileMount
//	V16 an entry flipped            vault.TestP4_V16V34EveryByte vault.TestP4_V16EpochChanged fs.TestP4HostileMountLog
//	V17 an entry moved              vault.TestP4_V14V15V17Foreign fs.TestP4HostileMountLog
//	V18 a gap                       vault.TestP4_V18EveryGap vault.TestP4_V18NoGapInARace fs.TestP4_V18HostileMountGap
//	V19 a rollback                  vault.TestP4_V19RollbackAtRest vault.TestP4_V19RollbackFreshTree vault.TestP4_V19RollbackWhileRunning vault.TestP4_V16V17V18V19HostileLog
//	V20 a rollback, with a token    vault.TestP4_V20Invited vault.TestP4_V20OtherVault vault.TestP4_V20InvitedLongAgo cmd/megafs.TestP4_V23VaultHeads
//	V21 a rollback, at first sight  vault.TestP4_V21FirstUse cmd/megafs.TestFirstUse
//	V22 a fork that crosses         vault.TestP4_V22Fork vault.TestP4_V22DeviceChain vault.TestAcceptThenLoad cmd/megafs.TestP4_V23VaultHeads
//	V23 a fork for ever             vault.TestP4_V23EternalFork cmd/megafs.TestP4_V23VaultHeads
//	V24 a rollback in part          vault.TestP4_V24PartialRollback
//	V25 two winners                 vault.TestP4_V25DoubleWinner
//	V26 refused for ever            vault.TestP4_V26EternalRefusal vault.TestP4_V26RefusedByAnother fs.TestP4_V26HostileMountRefused
//	V27 a condition ignored         vault.TestP4_V27IgnoredCondition remote/blob.TestS3IgnoredCondition
//	V28 acknowledged, not stored    vault.TestP4_V28NotStored vault.TestP4_V28EachKindNotStored
//	V29 other bytes stored          vault.TestP4_V29OtherBytes vault.TestP4_V29EachKind
//	V30 the loser shown             vault.TestP4_V30LoserShown
//	V31 a listing hides             vault.TestP4_V31ListHides vault.TestP4_V31ListHidesSome
//	V32 a listing floods            vault.TestP4_V32ListFloods vault.TestP4_V32EndlessLists vault.TestP4_V32PlantedFiles remote/blob.TestListCap
//	V33 entries of the future       vault.TestP4_V33FutureEntry vault.TestP4_V33FutureEntries vault.TestP4_V33ClaimedAsHead
//	V34 a snapshot damaged          vault.TestP4_V34OlderSnapshot vault.TestP4_V16V34EveryByte
//	V35 a snapshot unannounced      vault.TestP4_V35Unannounced
//	V36 a blend of times            vault.TestP4_V36Blends vault.TestP4_V36BlendsOfTimes
//	V37 a snapshot that diverges    vault.TestP4_V37Divergent vault.TestP4_V37Divergence
//	V38 too much is removed         vault.TestP4_V38OverPruned vault.TestP4_V38NotGivenUp
//	V39 history lost                fs/volume.TestP4_V39AwayForLong
//	V40 a fork below the snapshot   vault.TestP4_V40ForkBelow
//	V41 an old keyring              vault.TestP4_V41V43V44Keyring vault.TestP4_V41KeyringRenewed vault.TestP4_V41Unannounced
//	V42 slots                       vault.TestP4_V42SlotSurgery crypto.TestSlotSurgery
//	V43 another vault               vault.TestP4_V43VaultReplaced cmd/megafs.TestP4_V43Replaced
//	V44 an empty store              vault.TestP4_V44EmptyStore fs.TestP4_V44HostileMountEmptied cmd/megafs.TestP4_V44Emptied
//	V45 absurd costs                vault.TestP4_V45V46Costs crypto.TestKDFLimits
//	V46 cheap costs                 vault.TestP4_V45V46Costs crypto.TestKDFLimits
//	V47 a flood of slots            vault.TestP4_V47SlotFlood
//	V48 a slot for two passphrases  crypto.TestP4_V48PartitioningSlot crypto.TestCommitmentBeforeCiphertext
//	V49 other formats               vault.TestP4_V49OtherFormats crypto.TestP4_V49VersionsAndFeatures
//	V50 withdrawn keys              vault.TestP4_V50EpochDowngrade vault.TestP4_V50EpochForged
//	V51 gigabytes                   vault.TestP4_V51EndlessObjects vault.TestP4_V47SlotFlood
//	V52 slow and silent             vault.TestP4_V52GCHangs remote/blob.TestP4_V52SlowServer cache.TestP6Stalled cmd/megafs.TestP6HungStore
//	V53 writers and garbage         vault.TestP4_V53V54Interleavings vault.TestGCGrace fs/volume.TestGCCopyInJournal
//	V54 killed while collecting     vault.TestP4_V53V54Interleavings
//	V55 hostile lists               vault.TestP4_V55HostileLists
//	V56 collecting an old state     vault.TestP4_V56RolledBack
//	V57 what was removed is back    vault.TestP4_V57Resurrection
//	V58 stale answers               vault.TestP4_V58StaleReads vault.TestP4_V58StaleWhileCollecting
//	V59 sent elsewhere              remote/blob.TestP4_V59Redirect remote/blob.TestS3Plain
//	V60 hostile messages            remote/blob.TestP4_V60ErrorBodies
//	V61 names                       vault.TestP4_V61HostileNames vault.TestP4_V61V63Snapshots fs.TestP4HostileMountLog
//	V62 circles                     fs/tree.TestBatchesLeaveATree fs.TestP4HostileMountLog fs.TestP4_V62HostileMountRenames
//	V63 numbers                     vault.TestP4_V63NumberTraps vault.TestP4_V61V63Snapshots remote/wire.TestRefused fs.TestP4HostileMountLog
//	V64 links                       vault.TestP4_V64SymlinkBait fs.TestP4_V64HostileMountBait
//	V65 a copied machine            vault.TestP4_V65StateRestored vault.TestP4_V65CloneWhileRunning vault.TestDeviceClone fs/volume.TestClonedWhileOpen
//	V66 a stuck random source       crypto.TestP4_V66StuckRandom
//	V67 trust files                 vault.TestP4_V67TrustFiles vault.TestP4_V67EveryByte vault.TestP4_V67LostAndRolledBack
//	V68 cache and journal           fs/journal.TestV68FlippedBytes cache.TestP4DamageEverywhere fs.TestP4_V68HostileMountCache
//	V69 the store's clock           remote/blob.TestP4_V69ServerClock
//	V70 our clock                   vault.TestP4_V70WrongClocks vault.TestGCWrongClocks
//	V71 laundering                  fs/volume.TestP4Laundering fs.TestP4_V71HostileMountLaundering
//	V72 audits                      vault.TestP4_V72Poisoned vault.TestP4_V72Clean vault.TestP4_V72Forks cmd/megafs.TestP4_V72Verify
//
// In every one of them, machines are held to what oracle_test.go says.
//
//go:embed rows_test.go
var rows string

// TestEveryRowHasTests holds the table above against the tests that there are: each row has some, and a name that no function has is no test.
func TestEveryRowHasTests(t *testing.T) {
	tests, inName := remotetest.Tests(t, "../.."), map[string]bool{}
	row := regexp.MustCompile(`V(\d\d)(?:ToV(\d\d))?`)
	for test := range tests {
		_, name, _ := strings.Cut(test, ".")
		for _, r := range row.FindAllStringSubmatch(name, -1) {
			for n := r[1]; n <= max(r[1], r[2]); n = next(n) {
				inName["V"+n] = true
			}
		}
	}
	var required []string
	for n := 1; n <= 72; n++ {
		required = append(required, fmt.Sprintf("V%02d", n))
	}
	var listed []string
	for _, m := range regexp.MustCompile(`(?m)^//\t(V\d\d) .*?((?: \S+\.Test\w+)+)$`).FindAllStringSubmatch(rows, -1) {
		listed = append(listed, m[1])
		for _, test := range strings.Fields(m[2]) {
			if name, ok := strings.CutPrefix(test, "vault."); ok {
				test = "remote/vault." + name
			}
			if _, ok := tests[test]; !ok {
				t.Errorf("%s: there is no %s", m[1], test)
			}
		}
	}
	if !slices.Equal(listed, required) {
		t.Errorf("rows listed: %v\nrequired: %v", listed, required)
	}
	for _, r := range required {
		if !inName[r] {
			t.Errorf("no test is named after %s", r)
		}
	}
}

// next is the number after a number of two digits.
func next(n string) string {
	if n[1] == '9' {
		return string(n[0]+1) + "0"
	}
	return string(n[0]) + string(n[1]+1)
}
