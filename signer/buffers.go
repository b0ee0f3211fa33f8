package signer

import (
	"math/bits"
	"sync"
)

// Buffers between these sizes, in bytes, are worth keeping.
const (
	minBuffer = 1 << 9
	maxBuffer = 1 << 22
)

// buffers keeps the memory of bodies that were released, by the power of two below their size.
type buffers [14]sync.Pool

func (b *buffers) get(size int) []byte {
	if size >= minBuffer && size <= maxBuffer {
		class := bits.Len(uint(size)) - bits.Len(uint(minBuffer))
		for _, c := range [...]int{class, class + 1} {
			if c < len(b) {
				if p, ok := b[c].Get().(*[]byte); ok {
					if cap(*p) >= size {
						return (*p)[:0]
					}
					b[c].Put(p)
				}
			}
		}
	}
	return make([]byte, 0, size)
}

func (b *buffers) put(p []byte) {
	if cap(p) >= minBuffer && cap(p) <= maxBuffer {
		p = p[:0]
		b[bits.Len(uint(cap(p)))-bits.Len(uint(minBuffer))].Put(&p)
	}
}
