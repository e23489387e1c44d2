// Package megacrypt is the cryptography of MEGA's API: how passwords become keys, how keys are wrapped, what is inside a node's attributes, how content
// is encrypted and authenticated, and how a log-in is answered. Client and server share it.
//
// It follows what MEGA's clients do, not what one would choose. What that is worth is said where it matters:
//
//   - Keys are wrapped with AES-ECB ([Key.Wrap]), without any authentication. Whoever stores them can exchange blocks. Therefore [ParseFileKey] and
//     [ParseFolderKey] refuse the keys that such a splice makes predictable, and only keys that this process made may be wrapped under a master key: see
//     [Key.Wrap].
//   - Attributes are AES-CBC with a zero IV and a magic word. A flipped bit within a name may pass.
//   - Content is AES-CTR with a CBC-MAC of each chunk, condensed to 64 bits for a whole file. Only all chunk MACs together can be held against the
//     file's key ([Meta]); after that a single chunk can be held against its own.
//   - The RSA private key comes from the server, wrapped with AES-ECB. [OpenPrivateKey] checks it as a whole, and there is one error for
//     everything that may go wrong with it, with the session id and with its owner ([ErrLogin]), so that a server learns nothing from how a log-in fails.
//
// # Invariants
//
//   - Nothing from outside makes a function panic, or sizes an allocation before it was held against a limit.
//   - Whatever is secret ([Key], [FileKey], [PrivateKey]) prints as "[secret]".
//   - All functions are pure but [NewFileKey], [NewKey] and what seals, which read crypto/rand. Values don't change once made, and may be used by many goroutines,
//     but [MAC], which is one goroutine's.
//
// Integers within MEGA's structures are big-endian. Text forms of bytes are base64url without padding ([Encode], [Decode]).
//
// The package imports nothing of megafs.
package megacrypt
