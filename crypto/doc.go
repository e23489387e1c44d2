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
// # Layouts
//
// Integers are big-endian, "..." are ASCII bytes and \0 is one zero byte, || joins, and VID is the 32-byte vault id. HMAC, HKDF-Extract(salt, secret) and
// HKDF-Expand(key, info, length) are over SHA-256.
//
// An epoch key (VMK) gives a key for each class c of objects, and so does the keyring key (KRK), as epoch 0, which no vault object uses:
//
//	PRK = HKDF-Extract("megafs-vault/1 epoch\0" || VID, VMK) or HKDF-Extract("megafs-vault/1 krk\0" || VID, KRK)
//	class key = HKDF-Expand(PRK, "megafs-vault/1 class\0" || u8 c || u32 epoch, 32)
//
// The classes: 1 keyring body, 2 log entry, 3 snapshot root, 4 snapshot part, 5 content; 6, 7 and 19 are kept for later. Of the
// keys of classes 16 (ids), 17 and 18 (what a device keeps) no object is made.
//
// A sealed object:
//
//	0   "MGV1" | u8 class | u8 suite = 1 | u16 length of the last chunk's plaintext - 1 | u32 epoch | u32 n, number of chunks, 1..256 | 32 id
//	48  32 commitment
//	80  n chunks: each AES-256-GCM of 16384 bytes (the last may be shorter, but has one byte or more), that is, so many and a 16-byte tag
//
// and nothing after them. With head the bytes 0..47 and ctx the object's context,
//
//	HKDF-Expand(class key, "megafs-vault/1 object\0" || head || ctx, 76) = 32 key | 32 commitment | 12 base
//
// and chunk i, from 0, is sealed under the nonce base XOR i (as a 12-byte number) with the associated data "MGV1" || u8 class || u32 i || u32 n. The contexts
// are: keyring body u64 generation, log entry u64 number, snapshot root u64 number of the state, snapshot part the same || u32 part from 0, content nothing.
// Content is padded with zeros to whole chunks. An id, of which a reader needs to know nothing, is
// HMAC(class key 16, "megafs-vault/1 id\0" || u8 class || 32 random || SHA-256(plaintext with its padding)).
//
// A keyring object, at most 64 KiB:
//
//	0   "MGK1" | u16 major = 1 | u16 oldest reader = 1 | 32 VID | u64 generation, from 1 | u16 number of slots, 1..8
//	50  slots: u16 length of the rest | header | 32 commitment | 48 sealed KRK
//	    the keyring body, a sealed object to the end
//
//	header: u8 type (1 passphrase, 2 recovery key, 3 passphrase and vault secret) | u8 derivation (1 Argon2id, 2 none) | 16 id | 32 salt |
//	        u32 t | u32 m in KiB | u8 p | u16 length of the label, 0..64 | label, in UTF-8
//
// Types 1 and 3 have derivation 1, type 2 has 2 and t, m, p of zero. The secret of a slot is, for types 1 and 3, Argon2id (version 0x13) of
// the passphrase with the salt, t, m and p, 64 bytes long, for type 3 followed by the 32-byte vault secret, and for type 2 the 32-byte recovery key. The
// passphrase is taken in UTF-8 and normal form C. Accepted is t >= 3 with m >= 64 MiB, or m >= 2 GiB; and 1 <= t <= 16, m <= 4 GiB, 1 <= p <= 16.
//
//	key = HKDF-Extract("megafs-vault/1 slot\0" || VID || u8 type, secret)
//	HKDF-Expand(key, "megafs-vault/1 slot-wrap\0" || SHA-256(header), 76) = 32 key | 32 commitment | 12 nonce
//
// and the sealed KRK is AES-256-GCM of the KRK with the associated data header || VID. A commitment that differs means that the secret is not the slot's.
//
// The keyring body:
//
//	u16 version = 1 | 32 VID | u64 generation | 32 SHA-256 of the object's bytes 0..49 | 32 SHA-256 of the keyring object before (zero in generation 1) |
//	i64 time it was made (ns since 1970) | u8 suite = 1 | u64 compatible, u64 read-only compatible, u64 incompatible features |
//	u32 current epoch | u16 number of epochs | for each, from 1 on: u32 epoch, 32 VMK, u64 first log entry |
//	u8 number of slots | for each: 32 SHA-256 of the slot with its length field | u32 t, u32 m in KiB, u8 p for new slots |
//	u8 writers (0 many, 1 one) | 16 device id of the one writer
//
// Whoever knows none of the incompatible features that are set must not read, and of the read-only compatible ones must not write; none is
// defined. Epochs are numbered without gaps, the current one is the last, and their first entries do not decrease.
//
// A recovery key is written as base32 (RFC 4648, 52 characters without padding, spare bits zero) and 4 check characters, the first 20 bits in base32 of
// SHA-256("megafs-vault/1 recovery\0" || key), in groups of four with dashes between. Reading ignores case, spaces and dashes, and takes 0, 1 and 8 for O, I and B.
//
// Not stored in the vault: [Keys.Local] is HKDF-Expand(PRK of epoch 1, "megafs-vault/1 class\0" || u8 17 || u32 1 || device id || purpose, 32),
// [Keys.TrustMAC] is HMAC under the key of class 18 and epoch 1, and [Keys.Fingerprint] is HKDF-Expand(PRK of the newest
// epoch, "megafs-vault/1 fingerprint\0", 32).
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
