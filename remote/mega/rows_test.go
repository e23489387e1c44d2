package mega

import (
	_ "embed"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"

	"megafs/remote/remotetest"
)

// What a hostile server of an account can do, or one on the line to it, and the tests that do it. Paths are those of packages; those of fs/volume run over a
// server of the tree's own whose answers are changed.
//
//	M01 a wrapped key flipped       mega.TestM01ToM10HostileTree
//	M02 a weak key                  mega.TestM01ToM10HostileTree
//	M03 another node's key          mega.TestM01ToM10HostileTree
//	M04 another's attributes        mega.TestM04M34M36HostileNodes
//	M05 attributes flipped          mega.TestM05AttributesFlipped
//	M06 names                       mega.TestM01ToM10HostileTree
//	M07 twins                       mega.TestM01ToM10HostileTree fs/volume.TestG7MegaTwo
//	M08 circles                     mega.TestM01ToM10HostileTree mega.TestM25HostileEvents
//	M09 types                       mega.TestM01ToM10HostileTree
//	M10 another node, same handle   mega.TestM01ToM10HostileTree
//	M11 content flipped             mega.TestM11ToM17HostileContent
//	M12 ranges                      mega.TestM11ToM17HostileContent mega.TestM12RangesAfterAFullPass
//	M13 cut                         mega.TestM11ToM17HostileContent
//	M14 zeros cut off               mega.TestM14ZeroTailTrimmed
//	M15 said to be empty            mega.TestM11ToM17HostileContent
//	M16 numbers                     mega.TestM01ToM10HostileTree
//	M17 gaps                        mega.TestM17Gaps
//	M18 the private key mauled      crypto/megacrypt.TestM18PrivateKeyMauled
//	M19 the private key malformed   crypto/megacrypt.TestM19PrivateKeyMalformed
//	M20 a session forged            mega.TestM20M21M22LoginOracle
//	M21 log-ins as an oracle        mega.TestM20M21M22LoginOracle
//	M22 another form of password    mega.TestM20M21M22LoginOracle
//	M23 a proof of work             mega.TestM23Hashcash
//	M24 encryption as an oracle     mega.TestM24OnlyOwnKeysAreWrapped mega.TestM01ToM10HostileTree
//	M25 events                      mega.TestM25HostileEvents
//	M26 URLs                        mega.TestM26URLs
//	M27 uploads betrayed            fs/volume.TestM27UploadBetrayal
//	M28 retries for ever            mega.TestM28EndlessRetries
//	M29 another file's content      mega.TestM11ToM17HostileContent
//	M30 attributes without end      mega.TestM01ToM10HostileTree
//	M31 keys for others only        mega.TestM01ToM10HostileTree
//	M32 much is gone at once        mega.TestM32MassDisappearance fs/volume.TestM32MassDisappearance
//	M33 an old key set              mega.TestM33KeySetRolledBack
//	M34 a flood of versions         mega.TestM04M34M36HostileNodes
//	M35 laundering                  fs/volume.TestM35Laundering
//	M36 attributes right by luck    mega.TestM04M34M36HostileNodes
//	M37 the line                    mega.TestM37Line mega.TestM26URLs
//
//go:embed rows_test.go
var rows string

// TestEveryRowHasTests holds the table above against the tests that there are: each row has some, and one of them has the row's number in its name or its text.
func TestEveryRowHasTests(t *testing.T) {
	tests := remotetest.Tests(t, "../..")
	var listed, required []string
	for n := 1; n <= 37; n++ {
		required = append(required, fmt.Sprintf("M%02d", n))
	}
	for _, m := range regexp.MustCompile(`(?m)^//\t(M\d\d) .*?((?: \S+\.Test\w+)+)$`).FindAllStringSubmatch(rows, -1) {
		row, named := m[1], false
		listed = append(listed, row)
		for _, test := range strings.Fields(m[2]) {
			if name, ok := strings.CutPrefix(test, "mega."); ok {
				test = "remote/mega." + name
			}
			text, ok := tests[test]
			if !ok {
				t.Errorf("%s: there is no %s", row, test)
			}
			named = named || strings.Contains(text, row)
		}
		if !named {
			t.Errorf("none of the tests of %s says so", row)
		}
	}
	if !slices.Equal(listed, required) {
		t.Errorf("rows listed: %v\nrequired: %v", listed, required)
	}
}
