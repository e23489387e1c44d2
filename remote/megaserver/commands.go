package megaserver

// commands are those that are carried out. All others are answered BadArgs.
var commands map[string]command

// publicCommands are those that one may send who looks at a public folder.
var publicCommands = map[string]bool{"f": true, "g": true, "uga": true}

func init() {
	zero := func(*call, []byte) (result, error) { return done, nil }
	fails := func(c Code) command {
		return command{open: true, run: func(*call, []byte) (result, error) { return result{}, c }}
	}
	commands = map[string]command{
		// Accounts.
		"us0":  {run: runLogInSalt, open: true},
		"us":   {run: runLogIn, open: true, mutates: true},
		"up":   {run: runUserPut, open: true, mutates: true, form: paired},
		"uc":   {run: runConfirmRequest, mutates: true, form: tagged},
		"uc2":  {run: runConfirmRequest, mutates: true, form: tagged},
		"ud":   {run: runConfirmLook, open: true},
		"ud2":  {run: runConfirm, open: true, mutates: true, form: paired},
		"avu":  {run: runUpgrade, mutates: true, form: tagged},
		"ug":   {run: runUser},
		"gmf":  {run: runFlags, open: true},
		"uq":   {run: runQuota},
		"qbq":  {run: runQuotaFits},
		"sml":  {run: runLogOut, mutates: true, form: tagged},
		"usl":  {run: runSessions},
		"usr":  {run: runEndSessions, mutates: true, form: tagged},
		"mfas": {run: runFactorSet, mutates: true, form: paired},
		"mfag": {run: runFactorGet},
		"mfad": {run: runFactorEnd, mutates: true, form: tagged},
		"upv":  {run: runAttributesPut, mutates: true, form: paired},
		"up2":  {run: runAttributesPut, mutates: true, form: paired},
		"upr":  {run: runAttributeRemove, mutates: true, form: paired},
		"uga":  {run: runAttributeGet},
		"uk":   {run: runPublicKey},

		// Nodes.
		"f":  {run: runFetch},
		"p":  {run: runPut, mutates: true, form: paired},
		"a":  {run: runAttrs, mutates: true, form: tagged},
		"m":  {run: runMove, mutates: true, form: tagged},
		"d":  {run: runDelete, mutates: true, form: tagged},
		"dv": {run: runDeleteVersions, mutates: true, form: tagged},
		"k":  {run: runKeys, mutates: true, form: tagged},
		"s2": {run: runShare, mutates: true, form: paired},
		"l":  {run: runLink, mutates: true, form: paired},

		// Bytes.
		"u":   {run: runUpload, mutates: true},
		"g":   {run: runGet, open: true},
		"ufa": {run: runThumbs},
		"pfa": {run: runAttachThumbs, mutates: true, form: paired},

		// What clients say for the record.
		"log": {run: zero, open: true}, "sla": {run: zero, open: true}, "lang": {run: zero, open: true}, "ftz": {run: zero, open: true},
		"dr": {run: zero, open: true}, "puh": {run: zero}, "pp": {run: zero}, "whyamiblocked": {run: zero, open: true},

		// What there is none of here.
		"pk": fails(NoEntry), "mcf": fails(NoEntry), "sml2": fails(BadArgs),
	}
}
