// Package crypto is the cryptography of a vault: sealed objects, the keys they
// are sealed with, and the keyring that guards those keys.
//
// # Purpose
//
// Everything a vault stores is a sealed object ([Keys.Seal], [Keys.Open],
// [Keys.OpenChunk]). Each object has a key of its own, derived with
// HKDF-SHA-256 from an epoch key, the object's whole header and its context
// (which log position, which snapshot part), and is encrypted in 16 KiB chunks
// with AES-256-GCM under counter nonces. A 32-byte commitment is checked before
// one byte is decrypted. There is one suite and nothing is negotiated.
//
// The epoch keys live in a keyring object ([CreateKeyring], [OpenKeyring]),
// sealed under the keyring key KRK, which is wrapped once for each slot: by a
// passphrase through Argon2id, by a recovery key, or by a passphrase together
// with a vault secret. Deriving from a passphrase takes hundreds of megabytes
// and the passphrase itself, so it is done in a short-lived child process
// ([UnlockInChild], [ServeUnlock]) that hands back only the KRK.
//
// # Invariants
//
//   - No function seals under an id it was given: ids are derived inside Seal
//     from fresh randomness and the plaintext, so an (id, key, nonce) never
//     meets two plaintexts, even if the random source repeats itself.
//   - A slot's ciphertext is only ever written with a fresh salt.
//   - Nothing read from a store sizes an allocation before it is checked against
//     the length of what was actually received.
//   - A keyring is returned only when every clear byte, every slot and their
//     order agree with the sealed body. Key derivation costs that the store
//     asks for are refused outside of fixed limits before any memory is taken.
//   - Plaintext is returned whole and authenticated, or not at all.
//   - Secrets print as "[secret]" through every formatting path, also from
//     unexported fields of structs that hold them. Errors name kinds and counts.
//
// # Layouts fixed here
//
// The vault format leaves to the keyring's implementation:
//
//   - The keyring body is sealed with epoch 0, which no vault object uses.
//   - Body: u16 version 1, vault id, u64 generation, SHA-256 of clear bytes
//     0..49, SHA-256 of the previous keyring object (zero in generation 1), i64
//     creation time in ns, u8 suite, u64 compatible, u64 read-only compatible and
//     u64 incompatible features, u32 current epoch, u16 number of epochs, for
//     each u32 epoch, 32 VMK, u64 first sequence number, then u8 number of
//     slots, for each the SHA-256 of the slot with its length field, then the KDF
//     policy u32 t, u32 m in KiB, u8 p, then u8 writer policy (0 many, 1 one)
//     and the 16-byte device id of the one writer. Epochs count 1, 2, 3 ...
//   - [Keys.Local] is HKDF-Expand(PRK_1, class label || 0x11 || u32 1 || device ||
//     purpose), [Keys.Fingerprint] is HKDF-Expand(PRK_newest, "megafs-vault/1
//     fingerprint\0"), the recovery key's check characters are the first 20 bits
//     of SHA-256("megafs-vault/1 recovery\0" || key).
//
// # Concurrency
//
// [Keys] and [Keyring] never change once made, and are safe for concurrent use;
// the only shared mutable state is the table of recently derived chunk ciphers
// in Keys, an array of atomic pointers. There are no locks. Wipe of Secret,
// Keys and Keyring must not run together with any other use of the same value.
//
// # What it cannot do
//
// Go gives no guaranteed erasure: stacks are copied, AES key schedules stay on
// the heap until collected. Wipe clears what this package holds and promises no
// more. Memory is not locked against swapping.
//
// The package imports nothing of the project: callers map its sentinel errors to
// their own kinds.
package crypto
