package device

// Buffer returns n bytes of memory that ReadAt reads into without a copy, if offset and length are multiples of 4096 too.
func Buffer(n int) []byte { return alignedBuffer(n, minimum) }
