// Package writeback brings local changes to the remote, in the background.
//
// # One round
//
// The engine is one goroutine. A round freezes what has settled into a generation (tree.Freeze), plans it (Plan, a pure function:
// the difference of two states, as few Ops as tell it), stores the content the plan needs, commits the Ops as one batch
// on the position the tree has, and lets the tree take the batch. Then what the journal no longer needs is
// trimmed. A round that fails gives the generation back (tree.Thaw) and is tried again later; nothing is
// lost and nothing is half done, for a batch is seen whole or not at all.
//
// Between two rounds is twice as much time as a file must have been left alone, unless somebody waits or room runs out: each
// costs two requests at least, so few are to carry much.
//
// When somebody else committed first, the generation is given back, what they did is loaded, merged with what was done here (Options.Sink; see
// package tree), and the next round sends what came of it. What others do is also asked for while changes are kept back.
//
// A round that fails after the remote took the batch is no special case: the next load brings the
// batch as it would any other, the difference is gone, and the next plan is empty.
//
// Between two rounds others may commit something of their own to the remote (Turn), such as what collecting garbage has to say.
//
// # Invariants
//
//   - The base is durable, and a note of its position is in the journal, before a record is trimmed that
//     the base has made superfluous.
//   - What the remote takes is durable in the journal first. Else a power cut could leave a journal that ends before what
//     the remote has, whose older records would be replayed over it.
//   - Content is stored before the batch that refers to it.
//   - What is stored are whole chunks of 16 KiB, up to the file's end: a chunk that is written in part is read and
//     verified first, and if it does not verify, the file is kept back with that reason rather than sealed again.
//   - A file that can't be sent does not keep others back.
//   - What a file without names rests on is moved to the journal's end (forward) rather than keeping a segment and all behind it; the copy is
//     durable before the segment goes.
//   - A copy shares stored content only as long as the remote's state refers to it; else its content is stored anew, for it may be
//     collected.
//
// # Locks
//
// Engine.mu guards what Status, Drain and Admit look at; it is never held over I/O. All else belongs to the
// engine's goroutine.
package writeback
