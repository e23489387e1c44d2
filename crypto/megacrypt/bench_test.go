package megacrypt

import "testing"

// BenchmarkContent is what an upload's bytes cost at least, on one core: encryption, the MACs of chunks, and a request's checksum.
func BenchmarkContent(b *testing.B) {
	c, body := NewFileKey().Cipher(), make([]byte, MaxChunk)
	for name, f := range map[string]func(){
		"mac":      func() { c.ChunkMAC(body) },
		"encrypt":  func() { c.XOR(body, body, 0) },
		"checksum": func() { Checksum(body) },
	} {
		b.Run(name, func(b *testing.B) {
			b.SetBytes(int64(len(body)))
			for b.Loop() {
				f()
			}
		})
	}
}
